//! How a runtime is found again: the path of its agent's socket.

use std::path::{Path, PathBuf};

use model::Failure;
use provider::RuntimeHandle;
use serde::{Deserialize, Serialize};

/// The version of the handle's text.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    v: u32,
    socket: PathBuf,
}

/// A handle for the agent that listens at `socket`.
pub fn encode(socket: &Path) -> Result<RuntimeHandle, Failure> {
    let text = Text { v: VERSION, socket: socket.to_owned() };
    serde_json::to_string(&text).map(RuntimeHandle).map_err(Failure::internal)
}

/// The socket of a handle; it must lie beneath `state_dir`.
pub fn decode(handle: &RuntimeHandle, state_dir: &Path) -> Result<PathBuf, Failure> {
    let text: Text = serde_json::from_str(&handle.0).map_err(Failure::internal)?;
    let beneath = text.socket.starts_with(state_dir)
        && !text.socket.components().any(|part| part == std::path::Component::ParentDir);
    if text.v != VERSION || !beneath {
        return Err(Failure::internal(format!("no handle of this driver: {}", handle.0)));
    }
    Ok(text.socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_leads_back_to_its_socket() {
        let socket = Path::new("/state/sandboxes/sb-a.1/agent.sock");
        let handle = encode(socket).unwrap();
        assert_eq!(decode(&handle, Path::new("/state")).unwrap(), socket);
    }

    #[test]
    fn a_handle_that_leads_elsewhere_is_refused() {
        for text in [
            r#"{"v":1,"socket":"/run/docker.sock"}"#,
            r#"{"v":1,"socket":"/state/../run/docker.sock"}"#,
            r#"{"v":2,"socket":"/state/agent.sock"}"#,
            "nonsense",
        ] {
            let handle = RuntimeHandle(text.into());
            assert!(decode(&handle, Path::new("/state")).is_err(), "{text}");
        }
    }
}
