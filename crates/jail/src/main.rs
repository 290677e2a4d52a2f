//! The helper binary: see `jail::helper`.

fn main() {}
