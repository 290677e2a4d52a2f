//! The program under libFuzzer, which brings the `main`. `cargo xtask fuzz` builds it with
//! coverage and names the target in the environment.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// The variable that names the target.
const TARGET: &str = "FUZZ_TARGET";

static CHOSEN: OnceLock<fuzz::Target> = OnceLock::new();

fn choose() -> fuzz::Target {
    let name = std::env::var(TARGET).unwrap_or_default();
    fuzz::target(&name).unwrap_or_else(|| panic!("{TARGET} names no target: `{name}`"))
}

fuzz_target!(|input: &[u8]| {
    (CHOSEN.get_or_init(choose).run)(input);
});
