//! What a sandbox's first process sees, has and may do.

use super::rig::{Rig, ask, target};
use jail::wire::{Answer, Call};

fn status(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_process_has_ids_of_its_own_and_few_capabilities() {
    let mut rig = Rig::new();
    let created = rig.create("ids");
    let inside = ask(&created, "read /proc/self/status");
    assert_eq!(status(&inside, "Uid"), "0 0 0 0");
    assert_eq!(status(&inside, "Groups"), "");
    assert_eq!(status(&inside, "Pid"), "1");
    assert_eq!(status(&inside, "NoNewPrivs"), "1");
    assert_eq!(status(&inside, "Seccomp"), "2");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&inside, set), "00000000000005fb", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&inside, set), "0000000000000000", "{set}");
    }
    let map = ask(&created, "read /proc/self/uid_map");
    let map: Vec<u64> = map.split_whitespace().map(|part| part.parse().unwrap()).collect();
    assert!(map[0] == 0 && map[1] >= 1_879_048_192 && map[2] == 65_536, "{map:?}");
    let outside = std::fs::read_to_string(format!("/proc/{}/status", created.pid)).unwrap();
    assert_eq!(status(&outside, "Uid"), format!("{0} {0} {0} {0}", map[1]));
    assert_eq!(ask(&created, "read /proc/self/gid_map"), ask(&created, "read /proc/self/uid_map"));
    rig.destroy("ids");
}

#[test]
fn nothing_of_the_host_is_visible_but_its_programs() {
    let mut rig = Rig::new();
    let created = rig.create("view");
    assert_eq!(ask(&created, "read /proc/sys/kernel/hostname"), "view\n");
    let root = ask(&created, "list /");
    for name in root.split(' ') {
        let known = ["proc", "sys", "dev", "etc", "run", "tmp", "usr", "workspace"];
        let links = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];
        assert!(known.contains(&name) || links.contains(&name), "{name} in /");
    }
    let processes = ask(&created, "list /proc");
    let numbers: Vec<&str> =
        processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["1"]);
    assert_eq!(ask(&created, "list /sys/class/net"), "lo");
    assert_eq!(ask(&created, "list /sys/fs/cgroup"), "");
    assert!(ask(&created, "read /proc/self/cgroup").lines().all(|line| line.ends_with(":/")));
    let mounts = ask(&created, "read /proc/self/mountinfo");
    assert!(!mounts.contains(rig.state_dir().to_str().unwrap()), "{mounts}");
    for line in mounts.lines().filter(|line| line.contains(" /usr ")) {
        assert!(line.contains(" ro,nosuid,nodev"), "{line}");
    }
    assert_eq!(ask(&created, "write /usr/owned"), "errno 30");
    assert_eq!(ask(&created, "write /proc/sys/kernel/domainname"), "errno 30");
    assert_eq!(ask(&created, "write /sys/owned"), "errno 30");
    assert_eq!(ask(&created, "write /workspace/file"), "ok");
    rig.destroy("view");
}

#[test]
fn masked_parts_of_proc_and_sys_are_empty() {
    let mut rig = Rig::new();
    let created = rig.create("masks");
    for file in ["kcore", "keys", "timer_list", "latency_stats", "sched_debug", "interrupts"] {
        let text = ask(&created, &format!("read /proc/{file}"));
        assert!(text.is_empty() || text == "errno 2", "{file}: {text}");
    }
    for dir in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        let names = ask(&created, &format!("list {dir}"));
        assert!(names.is_empty() || names == "errno 2", "{dir}: {names}");
    }
    rig.destroy("masks");
}

#[test]
fn descriptors_are_the_promised_ones_and_no_others() {
    let mut rig = Rig::new();
    let created = rig.create("fds");
    let links = ask(&created, "links /proc/self/fd");
    let links: Vec<&str> = links.lines().collect();
    assert!(links[..3].iter().all(|link| link.ends_with("=/null")), "{links:?}");
    assert!(links[3].starts_with("3=socket:"), "{links:?}");
    // A directory from which there is no way up.
    assert_eq!(links[4], "4=/");
    assert!(ask(&created, "list /proc/self/fd/4/..").contains("cgroup.procs"));
    assert!(!ask(&created, "list /proc/self/fd/4/../..").contains("etc"));
    assert!(links[5].starts_with("5=/"), "{links:?}");
    // The connection that asks, its copy for reading, and nothing else.
    assert!(links[6..].iter().all(|link| link.contains("=socket:")), "{links:?}");
    assert!(links.len() <= 8, "{links:?}");
    assert!(ask(&created, "read /proc/self/fd/5").contains("oom_kill "));
    rig.destroy("fds");
}

#[test]
fn what_reaches_past_the_sandbox_is_refused() {
    let mut rig = Rig::new();
    let created = rig.create("attempts");
    for what in ["mount", "fsopen", "hostname", "chroot", "mknod"] {
        assert_eq!(ask(&created, &format!("try {what}")), "errno 1", "{what}");
    }
    for what in ["packet", "vsock"] {
        assert_eq!(ask(&created, &format!("try {what}")), "errno 97", "{what}");
    }
    for what in ["inet", "low-port", "chown"] {
        assert_eq!(ask(&created, &format!("try {what}")), "ok", "{what}");
    }
    let namespaces = ask(&created, "sh unshare --user true; unshare --net true");
    assert_eq!(namespaces.matches("Operation not permitted").count(), 2, "{namespaces}");
    rig.destroy("attempts");
}

#[test]
fn devices_and_terminals_work() {
    let mut rig = Rig::new();
    let created = rig.create("devices");
    let script = "sh head -c 4 /dev/urandom | wc -c; echo x > /dev/null; echo y > /dev/shm/y; \
                  cat /dev/shm/y; ls -l /dev/ptmx | grep -o 'pts/ptmx'; ls /dev";
    let text = ask(&created, script);
    let devices = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\n\
                   urandom\nzero\n";
    assert_eq!(text, format!("4\ny\npts/ptmx\n{devices}"));
    rig.destroy("devices");
}

#[test]
fn limits_are_in_force() {
    let mut rig = Rig::new();
    let created = rig.create("limits");
    let before = rig.usage("limits");
    assert_eq!(before.memory_limit_bytes, 64 << 20);
    assert_eq!(before.oom_kills, 0);
    assert!(before.pids >= 1 && before.memory_bytes > 0 && before.cpu_usec > 0, "{before:?}");
    ask(&created, "sh dd if=/dev/zero of=/dev/null bs=128M count=1");
    let after = rig.usage("limits");
    assert!(after.oom_kills >= 1, "{after:?}");
    assert!(after.memory_peak_bytes <= 64 << 20, "{after:?}");
    let script = "sh for i in $(seq 100); do sleep 1000 & done 2>&1 | head -n 1";
    assert!(ask(&created, script).contains("fork"), "no limit on processes");
    assert!(rig.usage("limits").pids <= 64);
    assert_eq!(ask(&created, "sh ulimit -c; ulimit -Sn"), "0\n1024\n");
    let descriptors: u64 = ask(&created, "sh ulimit -Hn").trim().parse().unwrap();
    assert!(descriptors <= 65_536, "{descriptors}");
    rig.destroy("limits");
}

#[test]
fn the_agent_can_end_a_group_of_processes_of_its_own() {
    let mut rig = Rig::new();
    let created = rig.create("groups");
    let pid = ask(&created, "exec-in-group setsid sleep 1000 & exec sleep 1000");
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
    assert_eq!(ask(&created, &format!("kill-group {pid}")), "ok");
    rig.destroy("groups");
}

#[test]
fn an_image_cannot_redirect_a_mount() {
    let mut rig = Rig::new();
    let image = rig.state_dir().join("images/evil");
    std::fs::create_dir_all(image.join("usr")).unwrap();
    std::os::unix::fs::symlink("/usr", image.join("proc")).unwrap();
    let mut spec = rig.spec("evil");
    spec.image.lower = vec![image];
    let error = rig.call(Call::Create(spec)).unwrap_err();
    assert!(error.message.starts_with("find /proc: "), "{error:?}");
    assert_eq!(rig.list(), []);
}

#[test]
fn layers_are_stacked_with_the_first_on_top() {
    let mut rig = Rig::new();
    for (layer, text) in [("top", "top"), ("middle", "middle")] {
        let etc = rig.state_dir().join("images").join(layer).join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("layer"), text).unwrap();
        std::fs::write(etc.join(layer), "").unwrap();
    }
    let mut spec = rig.spec("layers");
    let images = rig.state_dir().join("images");
    spec.image.lower = ["top", "middle", "host"].iter().map(|name| images.join(name)).collect();
    let Ok(Answer::Created(created)) = rig.call(Call::Create(spec)) else { panic!("no sandbox") };
    assert_eq!(ask(&created, "read /etc/layer"), "top");
    assert_eq!(ask(&created, "list /etc"), "layer middle top");
    assert_eq!(ask(&created, "sh stat -c %u:%g /etc/layer"), "0:0\n");
    assert_eq!(rig.call(Call::Destroy(target("layers"))), Ok(Answer::Destroyed));
}
