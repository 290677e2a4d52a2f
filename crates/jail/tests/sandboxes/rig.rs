//! What the tests share: a state directory with an image, a helper, and questions to the probe.
//!
//! Each rig has its own directory and instance name, and checks at its end that nothing of the
//! instance is left on the host.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jail::client::Client;
use jail::wire::{
    Answer, BIND_SOURCES, Bind, Call, Configure, CreateSpec, Created, Entry, ErrorKind, GENERATION,
    ImageSpec, JailError, Limits, ListFrom, Target, Usage,
};

/// 64 MiB, half a core, 64 processes.
pub const LIMITS: Limits = Limits { memory_bytes: 64 << 20, cpu_millis: 500, pids: 64 };

/// A helper at work for one test.
pub struct Rig {
    pub client: Option<Client>,
    pub instance: String,
    pub ephemeral: bool,
    dir: tempfile::TempDir,
}

/// A target of a test.
pub fn target(sandbox: &str) -> Target {
    Target { sandbox: sandbox.to_owned(), incarnation: 1 }
}

impl Rig {
    /// Starts a helper whose sandboxes outlive it.
    pub fn new() -> Self {
        Self::start(false)
    }

    /// Starts a helper.
    pub fn start(ephemeral: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("jail-test-").tempdir().unwrap();
        let instance = format!(
            "test-{}",
            dir.path().file_name().unwrap().to_str().unwrap()["jail-test-".len()..].to_lowercase()
        );
        let mut rig = Self { client: None, instance, ephemeral, dir };
        skeleton(&rig.state_dir().join("images/host"));
        rig.restart();
        rig
    }

    /// Starts a helper in place of the one that ended.
    pub fn restart(&mut self) {
        self.client = Some(another_helper());
        let configure = Configure {
            generation: GENERATION,
            instance: self.instance.clone(),
            state_dir: self.state_dir(),
            ephemeral: self.ephemeral,
        };
        assert_eq!(self.call(Call::Configure(configure)), Ok(Answer::Configured));
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Asks the helper.
    pub fn call(&mut self, call: Call) -> Result<Answer, JailError> {
        self.client.as_mut().unwrap().call(call).unwrap()
    }

    /// A sandbox of the image `host`.
    pub fn spec(&self, sandbox: &str) -> CreateSpec {
        CreateSpec {
            target: target(sandbox),
            hostname: sandbox.to_owned(),
            image: ImageSpec {
                lower: vec![self.state_dir().join("images/host")],
                binds: host_binds(),
            },
            limits: LIMITS,
            agent_argv: vec!["probe".to_owned()],
        }
    }

    /// Makes a sandbox of the image `host`.
    pub fn create(&mut self, sandbox: &str) -> Created {
        let spec = self.spec(sandbox);
        match self.call(Call::Create(spec)) {
            Ok(Answer::Created(created)) => created,
            other => panic!("{other:?}"),
        }
    }

    /// Destroys a sandbox.
    pub fn destroy(&mut self, sandbox: &str) {
        assert_eq!(self.call(Call::Destroy(target(sandbox))), Ok(Answer::Destroyed));
    }

    /// Everything the helper finds.
    pub fn list(&mut self) -> Vec<Entry> {
        match self.call(Call::List(ListFrom::default())) {
            Ok(Answer::Listed(listed)) => listed.entries,
            other => panic!("{other:?}"),
        }
    }

    /// The counters of a sandbox.
    pub fn usage(&mut self, sandbox: &str) -> Usage {
        match self.call(Call::Usage(target(sandbox))) {
            Ok(Answer::Usage(usage)) => usage,
            other => panic!("{other:?}"),
        }
    }

    /// The error that a create of this specification gives.
    pub fn refusal(&mut self, spec: CreateSpec) -> ErrorKind {
        self.call(Call::Create(spec)).expect_err("it was accepted").kind
    }

    /// Everything on the host that bears the instance's name: directories, cgroups, claims, mounts.
    pub fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let sandboxes = self.state_dir().join("sandboxes");
        traces.extend(paths(&sandboxes));
        for tree in paths(Path::new("/sys/fs/cgroup")) {
            traces.extend(
                paths(&Path::new(&tree).join("stacyvm").join(&self.instance))
                    .into_iter()
                    .filter(|path| Path::new(path).is_dir()),
            );
        }
        for claim in paths(Path::new("/run/stacyvm/uids")) {
            let content = fs::read_to_string(&claim).unwrap_or_default();
            if content.contains(&self.instance) {
                traces.push(claim);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.dir.path().to_str().unwrap();
        traces.extend(mounts.lines().filter(|line| line.contains(here)).map(str::to_owned));
        traces
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        if std::thread::panicking() {
            // Whatever the test was about, leave the host as it was; the panic is the news.
            if let Ok(Ok(Answer::Listed(listed))) = client.call(Call::List(ListFrom::default())) {
                for entry in listed.entries {
                    drop(client.call(Call::Destroy(entry.target)));
                }
            }
            drop(client.close());
            return;
        }
        client.close().unwrap();
        assert_eq!(self.traces(), Vec::<String>::new());
    }
}

/// Starts a helper that nobody has configured.
pub fn another_helper() -> Client {
    let helper = Path::new(env!("CARGO_BIN_EXE_stacyvm-jail"));
    let agent = helper.with_file_name("examples/probe");
    let agent = jail::launch::sealed(
        "probe",
        &fs::read(agent).expect(
            "the example `probe` is built with the package's tests, not with one target of them",
        ),
    )
    .unwrap();
    Client::start(File::open(helper).unwrap(), agent).unwrap()
}

fn paths(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().to_string_lossy().into_owned()).collect()
}

/// The host's program directories that are real, as mounts.
pub fn host_binds() -> Vec<Bind> {
    let real = |path: &&str| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let same = |path: &str| Bind { source: path.into(), target: path.into() };
    BIND_SOURCES.into_iter().filter(real).map(same).collect()
}

fn skeleton(image: &Path) {
    for dir in ["proc", "sys", "dev", "etc", "run", "tmp", "usr", "workspace"] {
        fs::create_dir_all(image.join(dir)).unwrap();
    }
    fs::set_permissions(image.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(image.join("workspace"), Some(1000), Some(1000)).unwrap();
    for source in BIND_SOURCES {
        if let Ok(to) = fs::read_link(source) {
            symlink(to, image.join(&source[1..])).unwrap();
        }
    }
}

/// Asks the probe in a sandbox.
pub fn ask(created: &Created, line: &str) -> String {
    let mut stream = UnixStream::connect(&created.socket).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
