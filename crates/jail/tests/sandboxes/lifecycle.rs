//! How sandboxes come and go, through crashes of the helper at any moment.

use std::fs;
use std::os::unix::fs::symlink;

use super::rig::{Rig, ask, target};
use jail::client::Client;
use jail::wire::{Answer, Call, Entry, ListFrom, Target};

#[test]
fn a_destroyed_sandbox_leaves_nothing() {
    let mut rig = Rig::new();
    let created = rig.create("whole");
    assert!(fs::exists(&created.socket).unwrap());
    let alive =
        Entry { target: target("whole"), alive: true, socket: Some(created.socket.clone()) };
    assert_eq!(rig.list().first(), Some(&alive));
    assert_eq!(rig.call(Call::Inspect(target("whole"))), Ok(Answer::Inspected(Some(alive))));
    ask(&created, "sh (setsid sleep 1000 & sleep 1000 & nohup sleep 1000 &) >/dev/null 2>&1");
    rig.destroy("whole");
    assert_eq!(rig.traces(), Vec::<String>::new());
    assert!(!fs::exists(format!("/proc/{}", created.pid)).unwrap() || is_zombie(created.pid));
    rig.destroy("whole");
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.contains("Z (zombie)"))
}

#[test]
fn creating_again_answers_with_the_living_one() {
    let mut rig = Rig::new();
    let first = rig.create("twice");
    ask(&first, "write /workspace/kept");
    let second = rig.create("twice");
    assert_eq!(first, second);
    assert_eq!(ask(&second, "read /workspace/kept"), "written");
    rig.destroy("twice");
}

#[test]
fn incarnations_are_separate() {
    let mut rig = Rig::new();
    let first = rig.create("again");
    let mut spec = rig.spec("again");
    spec.target.incarnation = 2;
    let Ok(Answer::Created(second)) = rig.call(Call::Create(spec)) else { panic!("no sandbox") };
    assert_ne!(first.pid, second.pid);
    assert_eq!(rig.list().len(), 2);
    rig.destroy("again");
    assert_eq!(ask(&second, "write /workspace/x"), "ok");
    let second = Target { incarnation: 2, ..target("again") };
    assert_eq!(rig.call(Call::Destroy(second)), Ok(Answer::Destroyed));
}

#[test]
fn sandboxes_outlive_a_killed_helper_and_the_next_one_finds_them() {
    let mut rig = Rig::new();
    let created = rig.create("survivor");
    rig.client.take().unwrap().kill().unwrap();
    assert_eq!(ask(&created, "write /workspace/x"), "ok");
    rig.restart();
    assert_eq!(rig.list().into_iter().map(|entry| entry.alive).collect::<Vec<_>>(), [true]);
    assert_eq!(rig.create("survivor"), created);
    rig.destroy("survivor");
}

#[test]
fn sandboxes_outlive_the_end_of_the_control_plane() {
    let mut rig = Rig::new();
    let created = rig.create("stays");
    assert!(rig.client.take().map(Client::close).unwrap().unwrap().success());
    assert_eq!(ask(&created, "write /workspace/x"), "ok");
    rig.restart();
    rig.destroy("stays");
}

#[test]
fn an_ephemeral_instance_takes_its_sandboxes_along() {
    let mut rig = Rig::start(true);
    for name in ["one", "two", "three"] {
        rig.create(name);
    }
    assert!(rig.client.take().map(Client::close).unwrap().unwrap().success());
    assert_eq!(rig.traces(), Vec::<String>::new());
}

#[test]
fn a_dead_sandbox_is_listed_as_dead_and_can_be_made_anew() {
    let mut rig = Rig::new();
    let first = rig.create("dies");
    let pid = rustix::process::Pid::from_raw(first.pid).unwrap();
    let watch = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&watch, rustix::process::Signal::KILL).unwrap();
    let mut polled = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, None).unwrap();
    drop(watch);
    let listed = rig.list();
    assert_eq!(listed.len(), 1);
    assert!(!listed[0].alive);
    let second = rig.create("dies");
    assert_ne!(first.pid, second.pid);
    assert_eq!(ask(&second, "write /workspace/x"), "ok");
    rig.destroy("dies");
}

#[test]
fn half_made_states_are_listed_and_removed() {
    let mut rig = Rig::new();
    let sandboxes = rig.state_dir().join("sandboxes");
    fs::create_dir(sandboxes.join("bare.1")).unwrap();
    fs::create_dir_all(sandboxes.join("cut-off.1/upper/etc")).unwrap();
    fs::write(sandboxes.join("cut-off.1/meta.json"), "{\"inst").unwrap();
    fs::create_dir_all(sandboxes.join("removed.1/deep-7/a/b")).unwrap();
    let mut groups = Vec::new();
    for tree in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let level = tree.unwrap().path().join("stacyvm").join(&rig.instance);
        if level.is_dir() {
            fs::create_dir(level.join("group-only.1")).unwrap();
            groups.push(level);
        }
    }
    assert!(!groups.is_empty());
    let claim = "/run/stacyvm/uids/half-made-test";
    fs::write(claim, "").unwrap();
    let names: Vec<String> = rig.list().into_iter().map(|entry| entry.target.sandbox).collect();
    assert_eq!(names, ["bare", "cut-off", "group-only", "removed"]);
    // A create over what is half-made starts afresh.
    let created = rig.create("cut-off");
    assert_eq!(ask(&created, "list /etc"), "");
    for name in names {
        rig.destroy(&name);
    }
    assert_eq!(rig.list(), []);
    rig.client.take().unwrap().close().unwrap();
    rig.restart();
    assert!(!fs::exists(claim).unwrap(), "an unreadable claim stays");
}

#[test]
fn a_helper_killed_in_the_middle_of_a_create_leaves_what_the_next_can_remove() {
    let mut rig = Rig::new();
    for round in 0..40_u32 {
        let spec = rig.spec("torn");
        let mut client = rig.client.take().unwrap();
        client.send(Call::Create(spec)).unwrap();
        // Later in each round, so that together they cover the whole of a create.
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_micros(u64::from(round) * 150) {
            std::hint::spin_loop();
        }
        client.kill().unwrap();
        rig.restart();
        rig.destroy("torn");
        assert_eq!(rig.list(), [], "round {round}");
    }
}

#[test]
fn a_helper_killed_in_the_middle_of_a_destroy_leaves_what_the_next_can_remove() {
    let mut rig = Rig::new();
    for round in 0..20_u32 {
        rig.create("torn");
        let mut client = rig.client.take().unwrap();
        client.send(Call::Destroy(target("torn"))).unwrap();
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_micros(u64::from(round) * 100) {
            std::hint::spin_loop();
        }
        client.kill().unwrap();
        rig.restart();
        rig.destroy("torn");
        assert_eq!(rig.list(), [], "round {round}");
    }
}

#[test]
fn a_hostile_file_tree_is_removed() {
    let mut rig = Rig::new();
    let created = rig.create("hostile");
    let script = "sh cd /workspace; ln -s / host; ln -s /workspace loop; mkfifo pipe; \
                  for i in $(seq 500); do mkdir d; cd d; done; touch leaf; \
                  cd /workspace; mkdir -p closed/inner; chmod 0 closed; \
                  mkdir \"$(printf 'a\\nb')\"";
    assert_eq!(ask(&created, script), "");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "").unwrap();
    let upper = rig.state_dir().join("sandboxes/hostile.1/upper");
    symlink(outside.path(), upper.join("outside")).unwrap();
    rig.destroy("hostile");
    assert!(outside.path().join("kept").exists());
}

#[test]
fn two_instances_work_side_by_side() {
    let (mut one, mut two) = (Rig::new(), Rig::new());
    let (first, second) = (one.create("same"), two.create("same"));
    let map = |created| ask(created, "read /proc/self/uid_map");
    assert_ne!(map(&first), map(&second));
    assert_eq!((one.list().len(), two.list().len()), (1, 1));
    one.destroy("same");
    assert_eq!(ask(&second, "write /workspace/x"), "ok");
    two.destroy("same");
}

#[test]
fn many_destroys_at_once_are_all_answered() {
    let mut rig = Rig::new();
    let names: Vec<String> = (0..48).map(|number| format!("many-{number}")).collect();
    for name in &names {
        rig.create(name);
    }
    let client = rig.client.as_mut().unwrap();
    let ids: Vec<u64> = names
        .iter()
        .chain(&names)
        .map(|name| client.send(Call::Destroy(target(name))).unwrap())
        .collect();
    for id in ids {
        assert_eq!(client.receive(id).unwrap(), Ok(Answer::Destroyed));
    }
    assert_eq!(rig.list(), []);
}

#[test]
fn listings_come_in_pages() {
    let mut rig = Rig::new();
    let sandboxes = rig.state_dir().join("sandboxes");
    for number in 0..300 {
        fs::create_dir(sandboxes.join(format!("page-{number:03}.1"))).unwrap();
    }
    let mut found = Vec::new();
    let mut from = ListFrom::default();
    loop {
        let Ok(Answer::Listed(page)) = rig.call(Call::List(from)) else { panic!("no page") };
        found.extend(page.entries.iter().map(|entry| entry.target.clone()));
        if !page.more {
            break;
        }
        from = ListFrom { after: found.last().cloned() };
    }
    assert_eq!(found.len(), 300);
    assert!(found.is_sorted());
    for target in found {
        assert_eq!(rig.call(Call::Destroy(target)), Ok(Answer::Destroyed));
    }
}
