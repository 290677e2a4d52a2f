//! The keys that bound or time something: every one has a range, and a value outside of it is
//! refused with the range. Part of the table in `keys`.

use std::time::Duration;

use model::format_duration;

use super::keys::Key;

macro_rules! number_key {
    ($name:literal, $form:literal, $range:expr, $about:literal, $($field:ident).+) => {
        Key {
            name: $name,
            form: $form,
            about: $about,
            secret: false,
            read: |config, value| {
                config.$($field).+ = value.number($range)?;
                Some(())
            },
            show: |config| config.$($field).+.to_string(),
        }
    };
}

macro_rules! duration_key {
    ($name:literal, $form:literal, $range:expr, $about:literal, $($field:ident).+) => {
        Key {
            name: $name,
            form: $form,
            about: $about,
            secret: false,
            read: |config, value| {
                config.$($field).+ = value.duration_within($range)?;
                Some(())
            },
            show: |config| format_duration(config.$($field).+),
        }
    };
}

/// Limits and times.
pub const LIMIT_KEYS: &[Key] = &[
    duration_key!(
        "server.heartbeat_interval",
        "a duration from 1s to 5m",
        Duration::from_secs(1)..=Duration::from_mins(5),
        "How long a stream may be silent before it says that it is there.",
        server.heartbeat
    ),
    duration_key!(
        "server.head_timeout",
        "a duration from 1s to 10m",
        Duration::from_secs(1)..=Duration::from_mins(10),
        "How long a connection may be open without a complete request head.",
        server.head_timeout
    ),
    duration_key!(
        "server.shutdown_timeout",
        "a duration from 100ms to 10m",
        Duration::from_millis(100)..=Duration::from_mins(10),
        "How long requests may go on when the server stops.",
        server.shutdown_grace
    ),
    duration_key!(
        "server.reconcile_interval",
        "a duration from 1s to 1h",
        Duration::from_secs(1)..=Duration::from_hours(1),
        "How often what is stored and what runs are compared.",
        engine.reconcile_interval
    ),
    duration_key!(
        "server.retention",
        "a duration from 1m to 87600h",
        Duration::from_mins(1)..=Duration::from_hours(87_600),
        "How long ended sandboxes and events are kept.",
        engine.retention
    ),
    number_key!(
        "defaults.pids",
        "a whole number from 8 to 4194304",
        8..=1 << 22,
        "The processes and threads that a sandbox may have.",
        engine.default_pids
    ),
    number_key!(
        "limits.memory_mb",
        "a whole number of MiB from 8 to 16777216",
        8..=1 << 24,
        "The most memory that a sandbox may ask for, in MiB.",
        engine.max_memory_mib
    ),
    number_key!(
        "limits.vcpus",
        "a whole number from 1 to 1024",
        1..=1024,
        "The most processor cores that a sandbox may ask for.",
        engine.max_vcpus
    ),
    number_key!(
        "limits.metadata_entries",
        "a whole number from 1 to 1024",
        1..=1024,
        "The most labels of a sandbox.",
        engine.max_metadata_entries
    ),
    number_key!(
        "limits.metadata_key_bytes",
        "a whole number from 1 to 4096",
        1..=4096,
        "The longest name of a label, in bytes.",
        engine.max_metadata_key_bytes
    ),
    number_key!(
        "limits.metadata_value_bytes",
        "a whole number from 1 to 65536",
        1..=64 * 1024,
        "The longest value of a label, in bytes.",
        engine.max_metadata_value_bytes
    ),
    duration_key!(
        "limits.create_timeout",
        "a duration from 1s to 1h",
        Duration::from_secs(1)..=Duration::from_hours(1),
        "How long a provider may take to make a sandbox.",
        engine.create_timeout
    ),
    duration_key!(
        "limits.destroy_timeout",
        "a duration from 1s to 1h",
        Duration::from_secs(1)..=Duration::from_hours(1),
        "How long a provider may take to remove one, before it is asked again.",
        engine.destroy_timeout
    ),
    number_key!(
        "limits.execs",
        "a whole number from 1 to 256",
        1..=256,
        "The most programs at once in a sandbox that is made from now on.",
        engine.max_execs
    ),
    duration_key!(
        "limits.exec_grace",
        "a duration from 10ms to 10m",
        Duration::from_millis(10)..=Duration::from_mins(10),
        "Between asking a program to end and making it.",
        engine.exec_grace
    ),
    duration_key!(
        "limits.exec_drain",
        "a duration from 10ms to 1m",
        Duration::from_millis(10)..=Duration::from_mins(1),
        "How long output of children is waited for after their program has ended.",
        engine.exec_drain
    ),
    number_key!(
        "limits.exec_output_bytes",
        "a whole number from 4096 to 67108864",
        4096..=64 * 1024 * 1024,
        "What an answer in one piece keeps of each output stream, in bytes; more is \
         `truncated`. A stream has no limit.",
        engine.output_limit
    ),
    number_key!(
        "limits.exec_replay_bytes",
        "a whole number from 4096 to 8388608",
        4096..=8 * 1024 * 1024,
        "What a sandbox keeps of each output stream for those who follow it later, \
         in bytes.",
        engine.replay_bytes
    ),
    number_key!(
        "limits.json_body_bytes",
        "a whole number from 65536 to 268435456",
        64 * 1024..=256 * 1024 * 1024,
        "The largest JSON body, in bytes. A file sent as `application/octet-stream` \
         has no limit.",
        server.max_body_bytes
    ),
    number_key!(
        "limits.listing_entries",
        "a whole number from 1 to 100000",
        1..=100_000,
        "The most entries of a listing, and matches of a pattern.",
        engine.max_listing_entries
    ),
    number_key!(
        "limits.grep_matches",
        "a whole number from 1 to 10000",
        1..=10_000,
        "The most lines that a search in files may ask for.",
        engine.max_grep_matches
    ),
    number_key!(
        "limits.archive_entries",
        "a whole number from 1 to 100000000",
        1..=100_000_000,
        "The most members of an archive that is unpacked in a sandbox.",
        engine.max_archive_entries
    ),
    number_key!(
        "limits.archive_bytes",
        "a whole number from 4096 to 70368744177664",
        4096..=1 << 46,
        "The most bytes that all files of such an archive have together.",
        engine.max_archive_bytes
    ),
    number_key!(
        "limits.archive_ratio",
        "a whole number from 1 to 1000000",
        1..=1_000_000,
        "How many times its compressed size such an archive may have. \
         Up to 64 MiB nothing is counted.",
        engine.max_archive_ratio
    ),
];
