//! What a program in a native sandbox can see and do: nothing of the host, and nothing to it.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use support::{World, output, read, sh, spawn, write};
use testkit::Server;

/// Runs each line in one sandbox; each must print exactly what stands beside it.
async fn check(lines: &[(&str, &str)]) {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    for (line, expected) in lines {
        let result = sh(&client, &id, line).await;
        assert_eq!(result.stdout.trim(), *expected, "{line}: {result:?}");
    }
    client.destroy(&id).await.expect("a sandbox is destroyed");
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn a_program_has_no_identity_and_no_privilege_of_the_host() {
    check(&[
        ("id -u; id -g; id -G", "1000\n1000\n1000"),
        ("grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
        ("grep CapPrm /proc/self/status", "CapPrm:\t0000000000000000"),
        ("grep CapBnd /proc/self/status", "CapBnd:\t0000000000000000"),
        ("grep CapAmb /proc/self/status", "CapAmb:\t0000000000000000"),
        ("grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        ("grep Seccomp: /proc/self/status", "Seccomp:\t2"),
        ("awk '{print ($2 > 0), $3}' /proc/self/uid_map", "1 65536"),
        ("pwd; echo $HOME", "/workspace\n/workspace"),
    ])
    .await;
}

#[tokio::test]
async fn a_program_sees_nothing_of_the_host() {
    check(&[
        ("ls /root 2>&1 | grep -c denied", "1"),
        ("ls -A /home /mnt /srv /opt | grep -v : | tr -d '\\n'", ""),
        ("cut -d: -f1 /etc/passwd | tr '\\n' ' '", "root user nobody"),
        ("cat /etc/shadow 2>&1 | grep -c 'No such'", "1"),
        ("ls /sys/class/net", "lo"),
        ("test -e /var/lib/dpkg && echo seen", ""),
        ("ls /proc | grep -cE '^[0-9]+$' | awk '{print ($1 < 10)}'", "1"),
        ("head -c 1 /proc/kcore 2>/dev/null | wc -c", "0"),
        ("hostname | cut -c1-3", "sb-"),
        ("ls -l /proc/self/fd | grep -cE 'socket|/var|/tmp'", "0"),
        ("env | cut -d= -f1 | grep -c STACYVM", "0"),
    ])
    .await;
}

#[tokio::test]
async fn what_would_reach_the_kernel_or_the_host_is_refused() {
    check(&[
        ("touch /usr/x 2>&1 | grep -c 'Read-only'", "1"),
        ("touch /proc/sys/kernel/hostname 2>/dev/null && echo done", ""),
        ("unshare -U true 2>/dev/null && echo done", ""),
        ("unshare -m true 2>/dev/null && echo done", ""),
        ("mount -t tmpfs none /tmp 2>/dev/null && echo done", ""),
        ("mknod /tmp/sda b 8 0 2>/dev/null && echo done", ""),
        ("kill -9 1 2>/dev/null && echo done", ""),
        ("kill -STOP 1 2>/dev/null && echo done", ""),
        ("cat /proc/1/environ 2>/dev/null | wc -c", "0"),
        ("ls /proc/1/fd 2>/dev/null | wc -l", "0"),
        ("cat /proc/1/mem 2>/dev/null | wc -c", "0"),
        ("dmesg 2>/dev/null | wc -c", "0"),
        ("chroot / true 2>/dev/null && echo done", ""),
        ("ls /sys/fs/cgroup 2>/dev/null | wc -l", "0"),
    ])
    .await;
}

#[tokio::test]
async fn dangerous_system_calls_fail() {
    let script = r#"
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    print(name, "refused" if result == -1 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS) else "ALLOWED")
call("bpf", 321, 0, 0, 0)
call("perf_event_open", 298, 0, 0, 0, 0, 0)
call("userfaultfd", 323, 0)
call("io_uring_setup", 425, 1, 0)
call("open_by_handle_at", 304, -100, 0, 0)
call("keyctl", 250, 0, -3, 0)
call("add_key", 248, 0, 0, 0, 0, 0)
call("setns", 308, 0, 0)
call("clone3", 435, 0, 0)
call("kexec_load", 246, 0, 0, 0, 0)
call("init_module", 175, 0, 0, 0)
call("pivot_root", 155, 0, 0)
call("process_vm_readv", 310, 1, 0, 0, 0, 0, 0)
call("clone_newuser", 56, 0x10000000, 0, 0, 0, 0)
for family, kind in ((16, 3), (17, 3), (40, 1), (38, 5), (2, 3)):
    try:
        socket.socket(family, kind, 15 if family == 16 else 0)
        print("socket", family, kind, "ALLOWED")
    except OSError:
        print("socket", family, kind, "refused")
"#;
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    write(&client, &id, "/workspace/calls.py", script).await.unwrap();
    let printed = output(&client, &id, "python3 calls.py").await;
    assert_eq!(printed.lines().count(), 19, "{printed}");
    for line in printed.lines() {
        assert!(line.ends_with("refused"), "{line}");
    }
    client.destroy(&id).await.unwrap();
}

#[tokio::test]
async fn two_sandboxes_do_not_see_each_other() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let (one, two) = (spawn(&client).await.id, spawn(&client).await.id);
    output(&client, &one, "echo secret > /tmp/x; setsid sleep 600 >/dev/null 2>&1 &").await;
    assert_eq!(sh(&client, &two, "cat /tmp/x 2>/dev/null; pgrep sleep").await.stdout, "");
    let base = "awk '{print $2}' /proc/self/uid_map";
    assert_ne!(output(&client, &one, base).await, output(&client, &two, base).await);
    client.destroy(&one).await.unwrap();
    client.destroy(&two).await.unwrap();
}

#[tokio::test]
async fn file_calls_cannot_leave_the_sandbox() {
    let world = World::new();
    let secret = world.path("secret");
    std::fs::write(&secret, "of the host").unwrap();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    let host = secret.to_str().unwrap();
    let links = format!(
        "ln -s {host} a; ln -s ../../../../../../..{host} b; ln -s /proc/1/root{host} c; ln -s /proc/1/environ d; ln -s / e"
    );
    output(&client, &id, &links).await;
    let spellings = [
        host.to_owned(),
        format!("/..{host}"),
        format!("/workspace/../../../..{host}"),
        "/workspace/a".into(),
        "/workspace/b".into(),
        "/workspace/c".into(),
        "/workspace/d".into(),
        format!("/workspace/e{host}"),
        format!("/proc/self/root{host}"),
        format!("/proc/1/root{host}"),
        format!("/proc/self/cwd/..{host}"),
    ];
    for path in &spellings {
        assert_ne!(read(&client, &id, path).await, Some("of the host".into()), "{path}");
        let _ = write(&client, &id, path, "changed").await;
        let _ = client.delete_file(&id, path, true).await;
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "of the host", "{path}");
    }
    client.destroy(&id).await.unwrap();
}

#[tokio::test]
async fn limits_on_memory_and_processes_hold() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let request =
        api::sandbox::SpawnRequest { memory_mb: Some(64), ..api::sandbox::SpawnRequest::default() };
    let id = client.spawn(&request).await.unwrap().id;
    let hog = sh(&client, &id, "exec python3 -c 'x = bytearray(512 << 20); print(len(x))'").await;
    assert_eq!((hog.outcome.as_str(), hog.stdout.as_str()), ("oom_killed", ""), "{hog:?}");
    let bomb = r#"python3 -c '
import os, time
n = 0
try:
    while n < 5000:
        if os.fork() == 0: time.sleep(600)
        n += 1
except OSError: print("stopped")'"#;
    let request = api::exec::ExecRequest {
        command: Some(bomb.into()),
        timeout: Some("20s".into()),
        ..api::exec::ExecRequest::default()
    };
    let bombed = client.exec(&id, &request).await;
    assert!(
        bombed.is_err()
            || bombed.as_ref().is_ok_and(|it| it.exit_code != 0 || it.stdout == "stopped\n"),
        "{bombed:?}"
    );
    client.destroy(&id).await.unwrap();
    drop(server);
    world.assert_no_traces();
}
