//! Paths: as the server checks them, and as the agent understands them.

use model::SandboxPath;

/// One path.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(path) = text.parse::<SandboxPath>() {
        assert_eq!(path.as_str(), text, "a path is passed on as it was sent");
        assert!(text.starts_with('/') && !text.contains('\0'));
    }
    let Some(path) = agent::fuzz::path(text) else { return };
    assert!(path.text.starts_with('/') && !path.text.contains('\0'));
    assert!(!path.text.contains("//") && path.text.split('/').all(|name| name != "."));
    let again = agent::fuzz::path(&path.text).expect("the canonical form is a path");
    assert_eq!(again, path, "there is one canonical form");
    assert_eq!(path.steps.last(), Some(&path.text), "the last step is the path itself");
    if let Some((parent, name)) = &path.split {
        assert!(!name.contains('/') && !name.is_empty() && name != "." && name != "..");
        let base = if parent == "/" { "" } else { parent };
        assert_eq!(format!("{base}/{name}"), path.text);
    }
}
