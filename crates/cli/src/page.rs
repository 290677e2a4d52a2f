//! Parts of pages that follow from the program, compared in tests so that the pages stay true.
//!
//! A part stands between `<!-- NAME -->` and `<!-- end NAME -->`. With `UPDATE_PAGES=1` in the
//! environment a test writes the part instead of comparing it.

use std::fs;
use std::path::Path;

/// Checks, or writes, the part `name` of `docs/<page>`.
pub fn check(page: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end {name} -->"));
    let from = text.find(&begin).expect("the page has the mark of the part") + begin.len();
    let to = from + text[from..].find(&end).expect("the page has the mark of the part's end");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&path, format!("{}{expected}{}", &text[..from], &text[to..])).unwrap();
        return;
    }
    assert_eq!(
        &text[from..to],
        expected,
        "docs/{page} is not true any more; run this test with UPDATE_PAGES=1"
    );
}
