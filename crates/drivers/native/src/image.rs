//! The image `host`: a read-only view of the host's own programs and libraries, with an `/etc`
//! made here and nothing else of the host.
//!
//! The skeleton (everything but the programs) is a directory beneath the state directory, named
//! after its content, so that a change of the host makes a new one and leaves the sandboxes of
//! the old one alone. Programs and libraries are mounts of the host's directories.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use jail::wire::{BIND_SOURCES, Bind, ImageSpec};

/// The image's name.
pub const HOST: &str = "host";

/// The user and group that work in the image runs as.
pub const USER_ID: u32 = 1000;

/// Where work starts, and the user's home.
pub const WORKDIR: &str = "/workspace";

/// The search path of every program.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A copied file of the host is at most so large; the linker's cache and a bundle of
/// certificates are below one mebibyte.
const COPY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Files of the host's `/etc` that say nothing of the host but where programs find what they
/// need: the dynamic linker's cache, well-known ports, certificate authorities.
const COPIES: [&str; 6] = [
    "etc/ld.so.cache",
    "etc/ld.so.conf",
    "etc/mime.types",
    "etc/protocols",
    "etc/services",
    "etc/ssl/certs/ca-certificates.crt",
];

/// The parts of the skeleton, in the order in which they are made.
#[derive(Debug, Hash)]
enum Part {
    Directory { path: String, mode: u32, owner: u32 },
    File { path: String, bytes: Vec<u8> },
    Link { path: String, target: PathBuf },
}

/// The image as the jail mounts it, its skeleton made or found beneath `state_dir`.
pub fn prepare(state_dir: &Path) -> io::Result<ImageSpec> {
    let mut parts = base();
    let mut binds = Vec::new();
    for source in BIND_SOURCES {
        match fs::symlink_metadata(source) {
            Ok(meta) if meta.is_symlink() => parts
                .push(Part::Link { path: source[1..].to_owned(), target: fs::read_link(source)? }),
            Ok(meta) if meta.is_dir() => {
                parts.push(directory(&source[1..], 0o755));
                binds.push(Bind { source: source.into(), target: source.into() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    parts.extend(copies()?);
    parts.extend(alternatives()?);
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    let images = state_dir.join("images");
    let skeleton = images.join(format!("{HOST}-{:016x}", hasher.finish()));
    if !skeleton.is_dir() {
        make(&images, &skeleton, &parts)?;
    }
    Ok(ImageSpec { lower: vec![skeleton], binds })
}

/// Removes skeletons that no sandbox can be using; called when there are no sandboxes.
pub fn remove_others(state_dir: &Path, current: &ImageSpec) -> io::Result<()> {
    for entry in fs::read_dir(state_dir.join("images"))? {
        let path = entry?.path();
        if !current.lower.contains(&path) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn directory(path: &str, mode: u32) -> Part {
    Part::Directory { path: path.to_owned(), mode, owner: 0 }
}

fn file(path: &str, text: &str) -> Part {
    Part::File { path: path.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// What is the same on every host.
fn base() -> Vec<Part> {
    let mut parts: Vec<Part> = [
        ("dev", 0o755),
        ("etc", 0o755),
        ("etc/ssl", 0o755),
        ("etc/ssl/certs", 0o755),
        ("home", 0o755),
        ("mnt", 0o755),
        ("opt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("srv", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("var/cache", 0o755),
        ("var/lib", 0o755),
        ("var/log", 0o755),
        ("var/tmp", 0o1777),
    ]
    .into_iter()
    .map(|(path, mode)| directory(path, mode))
    .collect();
    parts.push(Part::Directory { path: WORKDIR[1..].to_owned(), mode: 0o755, owner: USER_ID });
    parts.extend([
        file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n\
             user:x:1000:1000:user:/workspace:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        ),
        file("etc/group", "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"),
        file("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        file("etc/hostname", "sandbox\n"),
        file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        file("etc/resolv.conf", ""),
        file("etc/shells", "/bin/sh\n/bin/bash\n"),
        Part::Link { path: "etc/localtime".into(), target: "/usr/share/zoneinfo/Etc/UTC".into() },
        Part::Link { path: "etc/mtab".into(), target: "/proc/self/mounts".into() },
        Part::Link { path: "etc/os-release".into(), target: "../usr/lib/os-release".into() },
        Part::Link { path: "var/run".into(), target: "/run".into() },
    ]);
    parts
}

fn copies() -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for path in COPIES {
        let source = Path::new("/").join(path);
        match fs::metadata(&source) {
            Ok(meta) if meta.is_file() && meta.len() <= COPY_BYTES_MAX => {
                parts.push(Part::File { path: path.to_owned(), bytes: fs::read(source)? });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parts)
}

/// The links of `/etc/alternatives`, without which programs such as `awk` and `vi` are names that
/// lead nowhere.
fn alternatives() -> io::Result<Vec<Part>> {
    let mut parts = vec![directory("etc/alternatives", 0o755)];
    let Ok(entries) = fs::read_dir("/etc/alternatives") else { return Ok(parts) };
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let (Some(name), Ok(target)) = (entry.file_name().to_str(), fs::read_link(entry.path()))
        {
            links.push((format!("etc/alternatives/{name}"), target));
        }
    }
    links.sort();
    parts.extend(links.into_iter().map(|(path, target)| Part::Link { path, target }));
    Ok(parts)
}

/// Makes the skeleton under a temporary name and renames it, so that it is whole or not there.
fn make(images: &Path, skeleton: &Path, parts: &[Part]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(images)?;
    let unfinished = images.join("unfinished");
    match fs::remove_dir_all(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::DirBuilder::new().mode(0o755).create(&unfinished)?;
    for part in parts {
        match part {
            Part::Directory { path, mode, owner } => {
                let path = unfinished.join(path);
                fs::create_dir(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
                chown(&path, Some(*owner), Some(*owner))?;
            }
            Part::File { path, bytes } => {
                let mut options = fs::OpenOptions::new();
                let path = unfinished.join(path);
                let mut file = options.write(true).create_new(true).mode(0o644).open(&path)?;
                io::Write::write_all(&mut file, bytes)?;
                file.set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            Part::Link { path, target } => symlink(target, unfinished.join(path))?,
        }
    }
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755))?;
    fs::rename(&unfinished, skeleton)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skeleton_is_made_once_and_holds_nothing_of_the_hosts_users() {
        let state = tempfile::tempdir().unwrap();
        let first = prepare(state.path()).unwrap();
        let second = prepare(state.path()).unwrap();
        assert_eq!(first, second);
        let passwd = fs::read_to_string(first.lower[0].join("etc/passwd")).unwrap();
        assert_eq!(passwd.lines().count(), 3);
        assert!(!first.lower[0].join("etc/shadow").exists());
        assert!(first.binds.iter().any(|bind| bind.source == Path::new("/usr")));
    }

    #[test]
    fn skeletons_of_an_older_host_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let image = prepare(state.path()).unwrap();
        let old = state.path().join("images/host-0000000000000000");
        fs::create_dir(&old).unwrap();
        remove_others(state.path(), &image).unwrap();
        assert!(!old.exists());
        assert!(image.lower[0].exists());
    }
}
