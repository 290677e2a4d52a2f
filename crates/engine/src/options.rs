//! The engine's settings. Each has a default that suits one host; the command line fills them
//! from flags, the environment and the configuration file.

use std::time::Duration;

/// How the engine behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long a sandbox lives when its caller does not say. 30 minutes.
    pub default_ttl: Duration,
    /// The longest that a sandbox may be given, from now. 24 hours.
    pub max_ttl: Duration,
    /// The image when the caller names none. `host`.
    pub default_image: String,
    /// Memory when the caller does not say, in MiB. 1024.
    pub default_memory_mib: u32,
    /// Processor cores when the caller does not say. 1.
    pub default_vcpus: u32,
    /// Processes and threads that every sandbox may have. 512.
    pub default_pids: u32,
    /// The most memory that a sandbox may ask for, in MiB. 64 GiB.
    pub max_memory_mib: u32,
    /// The most processor cores that a sandbox may ask for. 64.
    pub max_vcpus: u32,
    /// How many sandboxes there may be at once; 0 is no limit, the default.
    pub max_sandboxes: u32,
    /// How many sandboxes one owner may have at once; 0 is no limit, the default.
    pub max_sandboxes_per_owner: u32,
    /// How long a program may run when its caller does not say. Without one it is
    /// [`max_exec_timeout`](Self::max_exec_timeout).
    pub default_exec_timeout: Option<Duration>,
    /// The longest that a program may run; zero is no limit. 10 minutes.
    pub max_exec_timeout: Duration,
    /// Between asking a program to end and making it. 5 seconds.
    pub exec_grace: Duration,
    /// How long output of children is waited for after their program has ended. 200 ms.
    pub exec_drain: Duration,
    /// How much of each output stream an answer in one piece keeps, in bytes. 1 MiB.
    pub output_limit: usize,
    /// How much of each output stream a sandbox keeps for those who follow a program later, in
    /// bytes. 1 MiB.
    pub replay_bytes: u32,
    /// How many programs may run in one sandbox at once. 100.
    pub max_execs: u32,
    /// Entries of one listing, and matches of one pattern. 100,000, which is also the most that an
    /// agent gives.
    pub max_listing_entries: usize,
    /// Lines that one search in files may ask for. 10,000, which is also the most that an agent
    /// gives.
    pub max_grep_matches: u32,
    /// Members of an archive that is unpacked: more than a large project with all that it depends
    /// on. 100,000.
    pub max_archive_entries: u64,
    /// Bytes in all files of such an archive. 16 GiB.
    pub max_archive_bytes: u64,
    /// How many times its compressed size such an archive may have, once it is large. 1000.
    pub max_archive_ratio: u64,
    /// Labels of one sandbox, so that its row stays small. 64.
    pub max_metadata_entries: usize,
    /// Bytes in the name of a label. 128.
    pub max_metadata_key_bytes: usize,
    /// Bytes in the value of a label. 4096.
    pub max_metadata_value_bytes: usize,
    /// How often rows and runtimes are compared. 30 seconds.
    pub reconcile_interval: Duration,
    /// How long a provider may take to make a runtime. 60 seconds.
    pub create_timeout: Duration,
    /// How long a provider may take to remove one. 60 seconds.
    pub destroy_timeout: Duration,
    /// How long the rows of ended sandboxes and events are kept. 24 hours.
    pub retention: Duration,
    /// The provider when the caller names none. `native`.
    pub default_provider: String,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_mins(30),
            max_ttl: Duration::from_hours(24),
            default_image: "host".into(),
            default_memory_mib: 1024,
            default_vcpus: 1,
            default_pids: 512,
            max_memory_mib: 64 * 1024,
            max_vcpus: 64,
            max_sandboxes: 0,
            max_sandboxes_per_owner: 0,
            default_exec_timeout: None,
            max_exec_timeout: Duration::from_mins(10),
            exec_grace: Duration::from_secs(5),
            exec_drain: Duration::from_millis(200),
            output_limit: 1024 * 1024,
            replay_bytes: 1024 * 1024,
            max_execs: 100,
            max_listing_entries: 100_000,
            max_grep_matches: 10_000,
            max_archive_entries: 100_000,
            max_archive_bytes: 16 << 30,
            max_archive_ratio: 1000,
            max_metadata_entries: 64,
            max_metadata_key_bytes: 128,
            max_metadata_value_bytes: 4096,
            reconcile_interval: Duration::from_secs(30),
            create_timeout: Duration::from_mins(1),
            destroy_timeout: Duration::from_mins(1),
            retention: Duration::from_hours(24),
            default_provider: "native".into(),
        }
    }
}
