//! Matching one name against one component of a glob pattern. Pure; `glob` walks directories.

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Literal(char),
    /// `?`
    AnyOne,
    /// `*`
    AnyRun,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern for one name: `*`, `?`, `[…]`, and `\` before a character that stands for itself.
#[derive(Clone, Debug)]
pub struct Pattern {
    elements: Vec<Element>,
}

impl Pattern {
    pub fn parse(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let mut elements = Vec::new();
        let mut at = 0;
        while let Some(character) = characters.get(at) {
            at += 1;
            let element = match character {
                '*' => {
                    if elements.last() == Some(&Element::AnyRun) {
                        continue;
                    }
                    Element::AnyRun
                }
                '?' => Element::AnyOne,
                '[' => match parse_class(&characters[at..]) {
                    Some((class, length)) => {
                        at += length;
                        class
                    }
                    // A bracket that is not closed stands for itself.
                    None => Element::Literal('['),
                },
                '\\' => {
                    let escaped = characters.get(at).copied().unwrap_or('\\');
                    at += 1;
                    Element::Literal(escaped)
                }
                other => Element::Literal(*other),
            };
            elements.push(element);
        }
        Self { elements }
    }

    /// The one name that matches, if there is only one.
    pub fn literal(&self) -> Option<String> {
        self.elements
            .iter()
            .map(|element| match element {
                Element::Literal(character) => Some(*character),
                Element::AnyOne | Element::AnyRun | Element::Class { .. } => None,
            })
            .collect()
    }

    /// Whether the name matches. A leading dot is matched by a dot alone.
    ///
    /// Takes time of at most the product of both lengths: a mismatch goes back to the last `*`
    /// only, because an earlier one cannot match any better.
    pub fn matches(&self, name: &str) -> bool {
        if name.starts_with('.') && self.elements.first() != Some(&Element::Literal('.')) {
            return false;
        }
        let name: Vec<char> = name.chars().collect();
        let (mut element, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.elements.get(element) {
                Some(Element::AnyRun) => {
                    star = Some((element, at));
                    element += 1;
                }
                Some(one) if one.matches(name[at]) => {
                    element += 1;
                    at += 1;
                }
                Some(_) | None => {
                    let Some((star_element, star_at)) = star else { return false };
                    star = Some((star_element, star_at + 1));
                    element = star_element + 1;
                    at = star_at + 1;
                }
            }
        }
        self.elements[element..].iter().all(|rest| *rest == Element::AnyRun)
    }
}

impl Element {
    fn matches(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::AnyOne => true,
            Self::AnyRun => false,
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                inside != *negated
            }
        }
    }
}

/// Reads what follows an opening bracket; the class and how many characters it takes up.
fn parse_class(text: &[char]) -> Option<(Element, usize)> {
    let negated = matches!(text.first(), Some('!' | '^'));
    let first = usize::from(negated);
    let mut ranges = Vec::new();
    let mut at = first;
    loop {
        let low = *text.get(at)?;
        // A closing bracket in the first position stands for itself.
        if low == ']' && at > first {
            return Some((Element::Class { negated, ranges }, at + 1));
        }
        match (text.get(at + 1), text.get(at + 2)) {
            (Some('-'), Some(high)) if *high != ']' => {
                ranges.push((low, *high));
                at += 3;
            }
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn patterns_match_as_in_a_shell() {
        let cases = [
            ("*", "a", true),
            ("*", "", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("?a", ".a", false),
            ("[.]a", ".a", false),
            ("*.rs", "main.rs", true),
            ("*.rs", "main.rsx", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("?", "é", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[a-]", "-", true),
            ("[ab", "[ab", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(Pattern::parse(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = Pattern::parse(&"*a".repeat(100));
        let begun = Instant::now();
        assert!(!pattern.matches(&"a".repeat(99).replace("aaaaa", "aaaab")));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(254))));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_matches_itself_alone(
            name in "[a-zé]{0,12}", other in "[a-zé]{0,12}",
        ) {
            let pattern = Pattern::parse(&name);
            prop_assert_eq!(pattern.literal(), Some(name.clone()));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }

        #[test]
        fn no_pattern_is_too_strange(
            pattern in "[*?\\[\\]!^a\\\\-]{0,24}",
            name in "[a\\]!-]{0,24}",
        ) {
            Pattern::parse(&pattern).matches(&name);
        }
    }
}
