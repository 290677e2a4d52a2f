//! The message that starts a program, from its bytes to what the kernel is given.

use proto::ExecStart;

/// One message.
pub fn run(input: &[u8]) {
    let Ok(start) = serde_json::from_slice::<ExecStart>(input) else { return };
    let Ok(command) = agent::fuzz::command(&start) else { return };
    assert!(!command.programs.is_empty() && !command.argv.is_empty(), "there is a program");
    let named = |entry: &std::ffi::CString| entry.as_bytes().iter().skip(1).any(|b| *b == b'=');
    assert!(command.envp.iter().all(named), "every variable has a name");
}
