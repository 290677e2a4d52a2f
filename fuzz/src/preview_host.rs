//! Host names of previews: the boundary between the API and every application in a sandbox.

/// A setting of `server.preview_domain` and a host name, with a NUL between them; without a NUL a
/// host name below `localhost`.
pub fn run(input: &[u8]) {
    let Some((one, other)) = crate::halves(input) else { return };
    let (domain, host) = if other.is_empty() { ("localhost", one) } else { (one, other) };
    let Some((port, sandbox)) = server::fuzz::preview(domain, host) else { return };
    let canonical = format!("{port}-{sandbox}.");
    assert!(host.starts_with(&canonical), "only the canonical form is an address: {host}");
    assert!(host.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()));
}
