//! Bytes of a program into the text of a JSON string.

use api::Encoding;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes into text that is complete after every push: a character that is cut off waits for its
/// rest.
pub(crate) struct Encoder {
    encoding: Encoding,
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, pending: Vec::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        match self.encoding {
            Encoding::Base64 => STANDARD.encode(bytes),
            Encoding::Utf8 => self.decode(bytes),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> String {
        // Most output is text that ends with a character.
        if self.pending.is_empty()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return text.to_owned();
        }
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            if let Some(bad) = error.error_len() {
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &after[bad..];
            } else {
                rest = after;
                break;
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// Bytes that wait for the rest of their character.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_cut_anywhere_is_the_same_text(
            pieces in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,8}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..8,
            ),
            cut in 1_usize..7,
        ) {
            let bytes = pieces.concat();
            let mut encoder = Encoder::new(Encoding::Utf8);
            let mut text = String::new();
            for chunk in bytes.chunks(cut) {
                text.push_str(&encoder.push(chunk));
                prop_assert!(encoder.pending.len() < 4);
            }
            text.push_str(&encoder.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
