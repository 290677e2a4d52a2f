//! A stand-in for the agent in this crate's tests: tells what a sandbox's first process sees.
//!
//! Listens on descriptor 3; each connection sends one line, a verb and its arguments, and gets text
//! back. It is no example of how to write an agent.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The descriptor numbers that the helper promises.
fn inherited(number: u32) -> io::Result<OwnedFd> {
    // Opening by name keeps this file free of unsafe code; a socket cannot be opened so.
    fs::OpenOptions::new().read(true).open(format!("/proc/self/fd/{number}")).map(OwnedFd::from)
}

fn main() -> io::Result<()> {
    let listener = listener();
    loop {
        let flags = SocketFlags::CLOEXEC;
        let connection: OwnedFd = rustix::net::accept_with(listener, flags)?;
        let mut stream = std::os::unix::net::UnixStream::from(connection);
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        let text = answer(line.trim_end()).unwrap_or_else(|error| match error.raw_os_error() {
            Some(errno) => format!("errno {errno}"),
            None => format!("error {error}"),
        });
        // A client that hung up has lost interest.
        let _ = stream.write_all(text.as_bytes());
    }
}

#[expect(unsafe_code, reason = "the listening socket is inherited by number")]
fn listener() -> BorrowedFd<'static> {
    // SAFETY: the helper passes the socket as descriptor 3, and nothing here closes it.
    unsafe { BorrowedFd::borrow_raw(3) }
}

fn answer(line: &str) -> io::Result<String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "read" => fs::read_to_string(rest),
        "list" => names(rest),
        "links" => links(rest),
        "write" => fs::write(rest, "written").map(|()| "ok".to_owned()),
        "sh" => shell(rest),
        "try" => attempt(rest).map(|()| "ok".to_owned()),
        "exec-in-group" => exec_in_group(rest),
        "kill-group" => kill_group(rest),
        other => Err(io::Error::other(format!("no verb {other}"))),
    }
}

fn names(dir: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn links(dir: &str) -> io::Result<String> {
    let mut links = Vec::new();
    for name in names(dir)?.split(' ') {
        // The one that lists the directory is gone again.
        if let Ok(target) = fs::read_link(Path::new(dir).join(name)) {
            links.push(format!("{name}={}", target.display()));
        }
    }
    Ok(links.join("\n"))
}

fn shell(script: &str) -> io::Result<String> {
    let output = Command::new("/bin/sh").arg("-c").arg(script).output()?;
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn attempt(what: &str) -> io::Result<()> {
    let socket = |family: u16| {
        let family = AddressFamily::from_raw(family);
        rustix::net::socket(family, SocketType::DGRAM, None).map(drop)
    };
    match what {
        "mount" => rustix::mount::mount_bind("/tmp", "/tmp")?,
        "fsopen" => {
            rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty()).map(drop)?;
        }
        "hostname" => rustix::system::sethostname(b"other")?,
        "chroot" => rustix::process::chroot("/tmp")?,
        "mknod" => {
            let device = rustix::fs::makedev(8, 0);
            let kind = rustix::fs::FileType::BlockDevice;
            rustix::fs::mknodat(rustix::fs::CWD, "/tmp/sda", kind, Mode::RUSR, device)?;
        }
        "inet" => socket(2)?,
        "packet" => socket(17)?,
        "vsock" => socket(40)?,
        "low-port" => std::net::TcpListener::bind("127.0.0.1:80").map(drop)?,
        "chown" => rustix::fs::chown("/tmp", None, Some(rustix::fs::Gid::from_raw(1000)))?,
        other => return Err(io::Error::other(format!("no attempt {other}"))),
    }
    Ok(())
}

fn group() -> io::Result<OwnedFd> {
    inherited(4)
}

/// Makes a cgroup of its own and runs a shell script in it, in the background.
fn exec_in_group(script: &str) -> io::Result<String> {
    let group = group()?;
    rustix::fs::mkdirat(&group, "job", Mode::RWXU)?;
    let child = Command::new("/bin/sh").arg("-c").arg(script).spawn()?;
    put(&group, "job/cgroup.procs", &child.id().to_string())?;
    Ok(child.id().to_string())
}

fn kill_group(pid: &str) -> io::Result<String> {
    let group = group()?;
    if put(&group, "job/cgroup.kill", "1").is_err() {
        put(&group, "job/pids.max", "0")?;
        let procs = rustix::fs::openat(&group, "job/cgroup.procs", OFlags::RDONLY, Mode::empty())?;
        for line in BufReader::new(fs::File::from(procs)).lines() {
            let member = line?.parse().ok().and_then(rustix::process::Pid::from_raw);
            let member = member.ok_or(io::ErrorKind::InvalidData)?;
            rustix::process::kill_process(member, rustix::process::Signal::KILL)?;
        }
    }
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())?;
    // The kernel refuses while the other process is still on its way out.
    while let Err(errno) = rustix::fs::unlinkat(&group, "job", AtFlags::REMOVEDIR) {
        if errno != rustix::io::Errno::BUSY {
            return Err(errno.into());
        }
        std::thread::yield_now();
    }
    Ok("ok".to_owned())
}

fn put(dir: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let file = rustix::fs::openat(dir, name, OFlags::WRONLY, Mode::empty())?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}
