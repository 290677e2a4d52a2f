//! Files in a real sandbox: archives, validators, large files, hostile archives, `cp -r`.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use api::ArchiveFormat;
use api::client::{Client, WriteIf};
use futures::{StreamExt, TryStreamExt, stream};
use support::{World, output, spawn};
use testkit::{Command, Server};

/// A server with one sandbox.
struct Stage {
    client: Client,
    id: String,
    server: Server,
    world: World,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new();
        let server = Server::start(&world.data_dir());
        let client = server.client();
        let id = spawn(&client).await.id;
        Self { client, id, server, world }
    }

    async fn sh(&self, line: &str) -> String {
        output(&self.client, &self.id, line).await
    }

    async fn write(&self, path: &str, bytes: &[u8]) {
        self.client.write_file(&self.id, (path, None), body(bytes)).await.expect("it is written");
    }

    async fn read(&self, path: &str) -> Vec<u8> {
        let stream = self.client.read_file(&self.id, path).await.expect("it can be read");
        stream.try_collect::<Vec<_>>().await.expect("it is whole").concat()
    }

    async fn archive(&self, path: &str, format: ArchiveFormat) -> Vec<u8> {
        let stream = self.client.read_archive(&self.id, path, format).await.expect("an archive");
        stream.try_collect::<Vec<_>>().await.expect("it is whole").concat()
    }

    fn cp(&self, from: &str, to: &str) -> std::process::Output {
        Command::new(testkit::binary())
            .args(["cp", "-r", from, to, "--server", self.server.url()])
            .output()
            .expect("the binary can be executed")
    }

    async fn end(self) {
        self.client.destroy(&self.id).await.expect("a sandbox is destroyed");
        drop(self.server);
        self.world.assert_no_traces();
    }
}

fn body(
    bytes: &[u8],
) -> impl futures::TryStream<Ok = Vec<u8>, Error = std::io::Error> + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(100_000).map(|chunk| Ok(chunk.to_vec())).collect();
    stream::iter(chunks)
}

/// A tar archive as the host's own program makes it.
fn tar(dir: &Path) -> Vec<u8> {
    let made = Command::new("tar").args(["-cf", "-", "-C"]).arg(dir).arg(".").output();
    made.expect("tar is part of every Debian system").stdout
}

/// One member as a hostile program writes it.
fn member(name: &str, flag: u8, link: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0004755");
    block[124..135].copy_from_slice(b"00000000000");
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Resident memory of a process of this machine, in KiB.
fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    number_after(&status, "VmRSS:")
}

fn number_after(text: &str, label: &str) -> u64 {
    let rest = text.split(label).nth(1).unwrap_or_default();
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[tokio::test]
async fn five_thousand_files_in_an_archive_are_the_same_as_one_by_one() {
    let stage = Stage::new().await;
    let source = stage.world.path("source");
    for number in 0..5000 {
        let dir = source.join(format!("d{}", number % 50));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f {number}")), format!("contents of {number}\n")).unwrap();
    }
    let bytes = tar(&source);
    let target = ("/workspace/archive", ArchiveFormat::Tar);
    let done = stage.client.write_archive(&stage.id, target, body(&bytes)).await.unwrap();
    assert_eq!(done.entries, 5051);
    let (client, id) = (&stage.client, &stage.id);
    let one_by_one = stream::iter(0..5000).for_each_concurrent(16, |number| async move {
        let path = format!("/workspace/single/d{}/f {number}", number % 50);
        let text = format!("contents of {number}\n");
        client.write_file(id, (&path, None), body(text.as_bytes())).await.unwrap();
    });
    one_by_one.await;
    let same = stage.sh("diff -r archive single && find archive -type f | wc -l").await;
    assert_eq!(same.trim(), "5000");
    for format in ArchiveFormat::ALL {
        let bytes = stage.archive("/workspace/single", format).await;
        let path = format!("/workspace/again-{}", format.word());
        let done = client.write_archive(id, (&path, format), body(&bytes)).await.unwrap();
        assert_eq!(done.entries, 5050);
        stage.sh(&format!("diff -r archive {path}")).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn any_bytes_and_any_names_survive() {
    let stage = Stage::new().await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend((0..700_000).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    }));
    let long = "n".repeat(255);
    for name in ["book.xlsx", "a b", "-rf", "new\nline", "*", "ü", long.as_str()] {
        let path = format!("/workspace/odd/{name}");
        stage.write(&path, &bytes).await;
        assert!(stage.read(&path).await == bytes, "{name}");
        let info = stage.client.stat_file(&stage.id, &path).await.unwrap();
        assert_eq!((info.name.as_str(), info.size), (name, bytes.len() as u64));
        let (client, id) = (&stage.client, &stage.id);
        let copy = format!("/workspace/odd/{}", &"c".repeat(200));
        client.copy_file(id, (&path, &copy), false).await.unwrap();
        client.move_file(id, &copy, "/workspace/odd/moved").await.unwrap();
        client.chmod_file(id, "/workspace/odd/moved", "0600").await.unwrap();
        client.delete_file(id, "/workspace/odd/moved", false).await.unwrap();
    }
    stage.sh("printf x > \"odd/$(printf 'bad\\377')\"").await;
    let listed = stage.client.list_files(&stage.id, "/workspace/odd").await.unwrap();
    let bad = listed.iter().find(|file| file.name.starts_with("bad")).unwrap();
    assert_eq!((bad.name.as_str(), bad.name_base64.as_deref()), ("bad\u{fffd}", Some("YmFk/w==")));
    let archive = stage.archive("/workspace/odd", ArchiveFormat::Zstd).await;
    let target = ("/workspace/back", ArchiveFormat::Zstd);
    stage.client.write_archive(&stage.id, target, body(&archive)).await.unwrap();
    stage.client.copy_file(&stage.id, ("/workspace/back", "/workspace/copy"), true).await.unwrap();
    stage.sh("diff -r odd back && diff -r odd copy").await;
    stage.client.delete_file(&stage.id, "/workspace/copy", true).await.unwrap();
    assert_eq!(stage.sh("ls -A | sort").await, "back\nodd\n");
    stage.end().await;
}

#[tokio::test]
async fn parts_and_validators_are_of_the_file_as_it_is() {
    let stage = Stage::new().await;
    let (client, id) = (&stage.client, &stage.id);
    let target = ("/workspace/f", None);
    let first = client.write_file(id, target, body(b"0123456789")).await.unwrap();
    let etag = first.etag.unwrap();
    assert_eq!(first.size, 10);
    assert_eq!(client.stat_file(id, target.0).await.unwrap().etag.as_ref(), Some(&etag));
    let refused = |error: api::client::ClientError| {
        assert_eq!(error.api().expect("an answer").body.reason, "file_changed");
    };
    refused(client.write_file_if(id, target, WriteIf::Absent, body(b"x")).await.unwrap_err());
    stage.sh("printf changed > f").await;
    let stale = WriteIf::Matches(&etag);
    refused(client.write_file_if(id, target, stale, body(b"x")).await.unwrap_err());
    let now = client.stat_file(id, target.0).await.unwrap().etag.unwrap();
    let fresh = WriteIf::Matches(&now);
    client.write_file_if(id, target, fresh, body(b"mine")).await.unwrap();
    assert_eq!(stage.read(target.0).await, b"mine");
    let mut pages = Vec::new();
    let mut cursor = None;
    stage.sh("mkdir many && cd many && seq 0 2499 | xargs touch").await;
    loop {
        let page = client.list_files_page(id, "/workspace/many", (999, cursor.as_deref())).await;
        let (files, next) = page.unwrap();
        pages.push(files.len());
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [999, 999, 502]);
    let (lines, _) = client.grep_files(id, "/workspace", "^mi.e$").await.unwrap();
    assert_eq!(lines[0].path, "/workspace/f");
    stage.end().await;
}

#[tokio::test]
async fn changes_in_a_sandbox_are_followed() {
    let stage = Stage::new().await;
    let mut events = stage.client.watch_files(&stage.id, "/workspace", true).await.unwrap();
    stage.sh("mkdir -p d/e && echo x > d/e/f && mv d/e/f d/g && rm d/g && touch end").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&"/workspace/end".to_owned()) {
        seen.push(events.next().await.expect("it goes on").expect("an event").path);
    }
    for path in ["/workspace/d", "/workspace/d/e", "/workspace/d/g"] {
        assert!(seen.iter().any(|seen| seen == path), "{path}: {seen:?}");
    }
    drop(events);
    stage.end().await;
}

#[tokio::test]
async fn a_watch_sees_files_in_their_place_and_its_own_end() {
    let stage = Stage::new().await;
    stage.sh("mkdir watched").await;
    let mut events =
        stage.client.watch_files(&stage.id, "/workspace/watched", false).await.unwrap();
    stage.write("/workspace/watched/file", b"x").await;
    stage.sh("rm -r watched").await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.expect("an event");
        seen.push((event.kind, event.path));
    }
    let is = |(kind, path): &(String, String), expected: (&str, &str)| {
        (kind.as_str(), path.as_str()) == expected
    };
    assert!(is(&seen[0], ("created", "/workspace/watched/file")), "{seen:?}");
    assert!(is(seen.last().unwrap(), ("deleted", "/workspace/watched")), "{seen:?}");
    assert!(seen.iter().all(|(_, path)| !path.contains(".stacyvm-")), "{seen:?}");
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_sent_whole_is_said_and_what_has_no_length_is_sent() {
    let stage = Stage::new().await;
    stage.sh("mkdir -p tree/closed && echo x > tree/open && chmod 0 tree/closed").await;
    let failed = stage.client.read_archive(&stage.id, "/workspace/tree", ArchiveFormat::Tar).await;
    let error = failed.err().expect("a part is closed to the sandbox's user");
    let body = &error.api().expect("an answer").body;
    assert_eq!(body.reason, "permission_denied");
    assert!(body.message.contains("/workspace/tree/closed"), "{}", body.message);
    let memory = String::from_utf8(stage.read("/proc/meminfo").await).unwrap();
    assert!(memory.starts_with("MemTotal:") && memory.ends_with('\n'), "{memory}");
    let (lines, _) = stage.client.grep_files(&stage.id, "/proc/self", "^Name:").await.unwrap();
    assert!(lines.iter().any(|line| line.path.ends_with("/status")), "{lines:?}");
    stage.sh("chmod 700 tree/closed").await;
    stage.end().await;
}

#[tokio::test]
async fn gigabytes_pass_with_flat_memory() {
    const GIB: u64 = 1 << 30;
    let stage = Stage::new().await;
    let (client, id) = (&stage.client, &stage.id);
    stage.sh("truncate -s 10G sparse").await;
    // Once before, so that what is allocated for good is there.
    stage.write("/workspace/warm", &vec![1; 8 << 20]).await;
    stage.read("/workspace/warm").await;
    let agent = async || number_after(&stage.sh("cat /proc/1/status").await, "VmRSS:");
    let before = (rss(stage.server.pid()), agent().await);
    let mut most = before.0;
    let mut bytes = client.read_file(id, "/workspace/sparse").await.unwrap();
    let (mut count, mut next) = (0_u64, GIB);
    while let Some(part) = bytes.next().await {
        count += part.expect("it goes on").len() as u64;
        if count >= next {
            next += GIB;
            most = most.max(rss(stage.server.pid()));
        }
    }
    assert_eq!(count, 10 * GIB);
    // The disk is the limit of writing: a gigabyte shows as much as ten.
    let chunk = vec![7_u8; 256 * 1024];
    let upload = stream::iter(0..4096).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let done = client.write_file(id, ("/workspace/large", None), upload).await.unwrap();
    assert_eq!(done.size, GIB);
    let after = (most.max(rss(stage.server.pid())), agent().await);
    let grown = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    assert!(grown.0 < 64 * 1024 && grown.1 < 16 * 1024, "KiB: {before:?} {after:?}");
    stage.end().await;
}

#[tokio::test]
async fn hostile_archives_are_refused_by_name_and_bombs_by_their_limit() {
    let stage = Stage::new().await;
    let (client, id) = (&stage.client, &stage.id);
    let send = async |bytes: Vec<u8>, format| {
        client.write_archive(id, ("/workspace/x", format), body(&bytes)).await
    };
    let end = vec![0; 1024];
    for (name, members) in [
        ("../up", vec![member("../up", b'0', "")]),
        ("/tmp/abs", vec![member("/tmp/abs", b'0', "")]),
        ("out/f", vec![member("out", b'2', "/tmp"), member("out/f", b'0', "")]),
        ("hard", vec![member("hard", b'1', "/etc/passwd")]),
        ("disk", vec![member("disk", b'4', "")]),
        ("pipe", vec![member("pipe", b'6', "")]),
    ] {
        let bytes = [members.concat(), end.clone()].concat();
        let error = send(bytes, ArchiveFormat::Tar).await.unwrap_err();
        let body = &error.api().expect("an answer").body;
        assert_eq!(body.reason, "archive_invalid", "{name}");
        assert_eq!(body.details["member"], *name, "{}", body.message);
    }
    assert_eq!(stage.sh("ls /tmp /workspace | grep -cE 'up|abs|^f$' || true").await.trim(), "0");
    let setuid = [member("setuid", b'0', ""), end.clone()].concat();
    send(setuid, ArchiveFormat::Tar).await.unwrap();
    assert_eq!(stage.sh("stat -c %a x/setuid").await.trim(), "755");
    stage.sh("mkdir zeros && truncate -s 8G zeros/zeros").await;
    let bomb = stage.archive("/workspace/zeros", ArchiveFormat::Zstd).await;
    let error = send(bomb, ArchiveFormat::Zstd).await.unwrap_err();
    let body = &error.api().expect("an answer").body;
    assert_eq!(
        (body.reason.as_str(), &body.details["limit"]),
        ("too_large", &"limits.archive_ratio".into())
    );
    stage.end().await;
}

#[tokio::test]
async fn directories_are_copied_both_ways_and_nothing_leads_out() {
    let stage = Stage::new().await;
    let from = stage.world.path("tree");
    fs::create_dir_all(from.join("a b/empty")).unwrap();
    fs::write(from.join("a b/-rf"), [0, 255, 10]).unwrap();
    fs::write(from.join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    fs::set_permissions(from.join("a b/-rf"), fs::Permissions::from_mode(0o751)).unwrap();
    symlink("/etc/hostname", from.join("link")).unwrap();
    let inside = format!("{}:/workspace/copy", stage.id);
    let back = stage.world.path("back");
    let copied = [
        stage.cp(from.to_str().unwrap(), &inside),
        stage.cp(from.to_str().unwrap(), &format!("{}:/workspace", stage.id)),
        stage.cp(&inside, back.to_str().unwrap()),
        stage.cp(&inside, back.to_str().unwrap()),
    ];
    for copied in copied {
        assert!(copied.status.success() && copied.stderr.is_empty(), "{copied:?}");
    }
    stage.sh("diff -r --no-dereference copy tree").await;
    for back in [back.clone(), back.join("copy")] {
        assert_eq!(fs::read(back.join("a b/-rf")).unwrap(), [0, 255, 10]);
        let mode = fs::metadata(back.join("a b/-rf")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o751);
        assert!(back.join("a b/empty").is_dir());
        assert_eq!(fs::read(back.join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap(), b"x");
        assert_eq!(fs::read_link(back.join("link")).unwrap().to_str(), Some("/etc/hostname"));
    }
    // A link of the first copy stands where the second has a directory.
    let beside = stage.world.path("beside");
    fs::create_dir(&beside).unwrap();
    let hostile = stage.world.path("hostile");
    fs::create_dir(&hostile).unwrap();
    stage.sh(&format!("mkdir h && ln -s {} h/out", beside.display())).await;
    let source = format!("{}:/workspace/h", stage.id);
    assert!(stage.cp(&source, hostile.to_str().unwrap()).status.success());
    stage.sh("rm h/out && mkdir h/out && echo pwned > h/out/file").await;
    let second = stage.cp(&source, hostile.to_str().unwrap());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("a link is in its way"), "{said}");
    assert_eq!(fs::read_dir(&beside).unwrap().count(), 0);
    stage.end().await;
}
