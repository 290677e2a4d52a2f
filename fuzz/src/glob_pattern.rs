//! Patterns for names: a client's pattern against a name that a sandbox's user chose.

/// A pattern and a name, with a NUL between them.
pub fn run(input: &[u8]) {
    let Some((pattern, name)) = crate::halves(input) else { return };
    let matches = agent::fuzz::pattern_matches(pattern, name);
    if let Some(literal) = agent::fuzz::pattern_literal(pattern) {
        assert!(agent::fuzz::pattern_matches(pattern, &literal), "a literal matches itself");
        assert_eq!(matches, literal == name, "and nothing else");
    }
    let exact: String = name.chars().flat_map(|character| ['\\', character]).collect();
    assert!(agent::fuzz::pattern_matches(&exact, name), "every name has a pattern");
    if !name.starts_with('.') {
        assert!(agent::fuzz::pattern_matches("*", name));
    }
}
