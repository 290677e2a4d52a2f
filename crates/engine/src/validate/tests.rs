//! What is let through, and the words for what is not.

use model::Reason;

use super::*;

fn options() -> EngineOptions {
    EngineOptions::default()
}

fn run(program: ExecProgram) -> Result<ExecSpec, Failure> {
    let id = "ex-aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
    exec(&options(), id, NewExec::new(program))
}

fn shell(line: &str) -> ExecProgram {
    ExecProgram::Shell(line.into())
}

#[test]
fn a_time_to_live_is_positive_and_within_the_limit() {
    let hour = Duration::from_hours(1);
    assert_eq!(ttl(&options(), hour).unwrap(), hour);
    assert_eq!(ttl(&options(), Duration::ZERO).unwrap_err().reason, Reason::InvalidField);
    let failure = ttl(&options(), hour * 48).unwrap_err();
    assert_eq!(failure.reason, Reason::TtlTooLong);
    assert_eq!(failure.message, "resource limit exceeded: ttl 48h0m0s exceeds max ttl 24h0m0s");
}

#[test]
fn memory_and_cores_are_positive_and_within_the_limit() {
    for (memory_mib, vcpus) in [(0, 1), (1, 0), (u32::MAX, 1), (1, u32::MAX)] {
        let new = NewSandbox {
            memory_mib: Some(memory_mib),
            vcpus: Some(vcpus),
            ..NewSandbox::default()
        };
        assert_eq!(resources(&options(), &new).unwrap_err().reason, Reason::InvalidField);
    }
    let defaults = resources(&options(), &NewSandbox::default()).unwrap();
    assert_eq!((defaults.memory_mib, defaults.vcpus, defaults.pids), (1024, 1, 512));
}

#[test]
fn an_owner_is_one_word_without_slashes() {
    assert_eq!(owner(Some(" alice@example.org ")).unwrap().as_deref(), Some("alice@example.org"));
    assert_eq!(owner(Some("  ")).unwrap(), None);
    for bad in ["a b", "a/b", "a\\b", "a\u{7}b", &"a".repeat(129)] {
        assert!(owner(Some(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn an_image_is_visible_ascii() {
    for good in ["host", "python:3.12", "ghcr.io/a/b@sha256:abc"] {
        assert!(image(good).is_ok(), "{good}");
    }
    for bad in ["", "-v", "a b", "a\n", "ä", &"a".repeat(513)] {
        assert!(image(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn metadata_is_bounded() {
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    assert!(metadata(&options(), &one("team", "a")).is_ok());
    for bad in [one("", "a"), one("a\0", ""), one("a", "\0")] {
        assert!(metadata(&options(), &bad).is_err(), "{bad:?}");
    }
}

fn lines_of(path: &str, limit: u32) -> Grep {
    Grep {
        path: path.parse().unwrap(),
        pattern: "x".into(),
        recursive: true,
        ignore_case: false,
        limit,
        names: None,
    }
}

#[test]
fn a_terminal_and_a_search_have_at_least_one_of_what_they_count() {
    assert!(terminal(TtySize { cols: 1, rows: 9999 }).is_ok());
    assert!(grep(&options(), &lines_of("/", 10_000)).is_ok());
    for failure in [
        terminal(TtySize { cols: 0, rows: 24 }).unwrap_err(),
        grep(&options(), &lines_of("/", 0)).unwrap_err(),
    ] {
        assert_eq!(failure.reason, Reason::InvalidField);
        assert!(!failure.details.contains_key("limit"), "{failure}");
    }
}

#[test]
fn each_limit_is_named_in_its_error_with_its_value() {
    let options = EngineOptions { max_memory_mib: 5, max_vcpus: 6, ..options() };
    let new = |memory_mib, vcpus| NewSandbox { memory_mib, vcpus, ..NewSandbox::default() };
    let id = || "ex-aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
    let start = |new| exec(&options, id(), new).map(drop);
    let argv = |argv| start(NewExec::new(ExecProgram::Argv(argv)));
    let lines = |limit| grep(&options, &lines_of("/", limit));
    let tty = |cols, rows| terminal(TtySize { cols, rows }).map(drop);
    let labels = |count: usize, key: usize, value: usize| {
        let label = |n| (format!("{n:0key$}"), "v".repeat(value));
        metadata(&options, &(0..count).map(label).collect())
    };
    let long = NewExec { timeout: Some(Duration::from_hours(1)), ..NewExec::new(shell("true")) };
    for (limit, max, result) in [
        (Limit::MaxTtl, "24h0m0s", ttl(&options, Duration::from_hours(25)).map(drop)),
        (Limit::MaxExecTimeout, "10m0s", start(long)),
        (Limit::MemoryMib, "5", resources(&options, &new(Some(6), None)).map(drop)),
        (Limit::Vcpus, "6", resources(&options, &new(Some(1), Some(7))).map(drop)),
        (Limit::MetadataEntries, "64", labels(65, 3, 1)),
        (Limit::MetadataKeyBytes, "128", labels(1, 129, 1)),
        (Limit::MetadataValueBytes, "4096", labels(1, 1, 4097)),
        (Limit::ArgBytes, "131071", argv(vec!["x".repeat(1 << 17)])),
        (Limit::ArgsBytes, "1048576", argv(vec!["x".repeat(100_000); 11])),
        (Limit::Args, "16384", argv(vec!["x".to_owned(); 20_000])),
        (Limit::GrepMatches, "10000", lines(10_001)),
        (Limit::TtyCells, "9999", tty(10_000, 24)),
        (Limit::TtyCells, "9999", tty(80, u16::MAX)),
    ] {
        let failure = result.unwrap_err();
        assert_eq!(failure.reason, limit.reason(), "{failure}");
        assert_eq!(failure.details["limit"], limit.name().into(), "{failure}");
        let shown = match &failure.details["max"] {
            Detail::Text(text) => text.clone(),
            Detail::Number(number) => number.to_string(),
            Detail::Flag(flag) => flag.to_string(),
        };
        assert_eq!(shown, max, "{failure}");
        assert_eq!(failure.hint, Some(limit.hint()), "{failure}");
    }
}

#[test]
fn a_program_has_a_name_and_fits_what_the_kernel_takes() {
    assert!(run(shell("echo")).is_ok());
    assert!(run(shell("")).is_ok(), "a shell runs an empty line");
    for bad in [
        shell("a\0b"),
        shell(&"x".repeat(128 * 1024)),
        ExecProgram::Argv(Vec::new()),
        ExecProgram::Argv(vec![String::new()]),
        ExecProgram::Argv(vec!["x".repeat(100_000); 11]),
    ] {
        assert_eq!(run(bad).unwrap_err().reason, Reason::InvalidField);
    }
    let failure = run(shell(&"x".repeat(10 << 20))).unwrap_err();
    assert_eq!(failure.message, "invalid input: command: is over the limit of 131071 bytes");
}

#[test]
fn an_environment_name_has_no_equals_sign() {
    for name in ["", "A=B", "A\0"] {
        let new = NewExec { env: vec![(name.into(), "x".into())], ..NewExec::new(shell("true")) };
        let id = "ex-aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        assert!(exec(&options(), id, new).is_err(), "{name:?}");
    }
}

#[test]
fn the_maximum_limits_a_program_that_names_no_timeout() {
    let minute = Duration::from_mins(1);
    let cases = [
        (None, Duration::ZERO, None, Ok(None)),
        (None, minute, None, Ok(Some(minute))),
        (Some(minute * 2), minute, None, Ok(Some(minute))),
        (Some(minute), Duration::ZERO, None, Ok(Some(minute))),
        (None, minute, Some(minute / 2), Ok(Some(minute / 2))),
        (None, Duration::ZERO, Some(minute * 9), Ok(Some(minute * 9))),
        (None, minute, Some(minute * 2), Err(Reason::TimeoutTooLong)),
        (None, minute, Some(Duration::ZERO), Err(Reason::InvalidField)),
    ];
    for (default_exec_timeout, max_exec_timeout, asked, expected) in cases {
        let options = EngineOptions { default_exec_timeout, max_exec_timeout, ..options() };
        assert_eq!(timeout(&options, asked).map_err(|failure| failure.reason), expected);
    }
}
