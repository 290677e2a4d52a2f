//! What the helper does not accept, and what it says then.

use std::path::PathBuf;

use super::rig::{Rig, another_helper, target};
use jail::wire::{
    Answer, BIND_SOURCES, Bind, Call, Configure, CreateSpec, ErrorKind, Feature, GENERATION,
    MESSAGE_BYTES_MAX,
};

/// Makes a good specification bad.
type Change = fn(&mut CreateSpec);

fn invalid(field: &str) -> ErrorKind {
    ErrorKind::Invalid { field: field.to_owned() }
}

#[test]
fn a_wrong_field_is_named_and_nothing_is_made() {
    let mut rig = Rig::new();
    let image = rig.state_dir().join("images/host");
    let wrong: Vec<(&str, Change)> = vec![
        ("target.sandbox", |spec| spec.target.sandbox = "../up".into()),
        ("target.sandbox", |spec| spec.target.sandbox = "x".repeat(65)),
        ("hostname", |spec| spec.hostname = String::new()),
        ("image.lower", |spec| spec.image.lower.clear()),
        ("image.lower", |spec| spec.image.lower = vec![PathBuf::from("/etc")]),
        ("image.lower", |spec| spec.image.lower[0].push("../../../etc")),
        ("image.lower", |spec| spec.image.lower[0].push("")),
        ("image.binds", |spec| spec.image.binds[0].source = "/etc".into()),
        ("image.binds", |spec| spec.image.binds[0].source = "/usr/../etc".into()),
        ("image.binds", |spec| spec.image.binds[0].target = "/".into()),
        ("image.binds", |spec| spec.image.binds[0].target = "/proc/self".into()),
        ("image.binds", |spec| spec.image.binds.extend(spec.image.binds.clone())),
        ("limits.memory_bytes", |spec| spec.limits.memory_bytes = 0),
        ("limits.cpu_millis", |spec| spec.limits.cpu_millis = u64::MAX),
        ("limits.pids", |spec| spec.limits.pids = 1),
        ("agent_argv", |spec| spec.agent_argv.clear()),
        ("agent_argv", |spec| spec.agent_argv[0] = "a\0b".into()),
    ];
    for (field, change) in wrong {
        let mut spec = rig.spec("wrong");
        spec.image.lower = vec![image.clone()];
        change(&mut spec);
        assert_eq!(rig.refusal(spec), invalid(field));
    }
    assert_eq!(rig.list(), []);
}

#[test]
fn a_layer_reached_through_a_link_is_refused() {
    let mut rig = Rig::new();
    let link = rig.state_dir().join("images/link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    let mut spec = rig.spec("link");
    spec.image.lower = vec![link];
    let error = rig.call(Call::Create(spec)).unwrap_err();
    assert!(error.message.starts_with("open an image layer: "), "{error:?}");
    assert_eq!(rig.list(), []);
}

#[test]
fn what_is_no_request_gets_an_error_and_the_helper_goes_on() {
    let mut rig = Rig::new();
    let long = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    let cases: [&[u8]; 5] = [b"{", b"\xff\xfe", b"[]", br#"{"id":1,"call":"reboot"}"#, &long];
    for message in cases {
        let client = rig.client.as_mut().unwrap();
        client.send_raw(message).unwrap();
        let error = client.receive(0).unwrap().unwrap_err();
        assert_eq!(error.kind, invalid("request"));
    }
    assert_eq!(rig.list(), []);
}

#[test]
fn configure_comes_first_once_and_for_one_helper_at_a_time() {
    let mut rig = Rig::new();
    let configure = Configure {
        generation: GENERATION,
        instance: rig.instance.clone(),
        state_dir: rig.state_dir(),
        ephemeral: false,
    };
    let again = rig.call(Call::Configure(configure.clone())).unwrap_err();
    assert_eq!(again.kind, invalid("call"));
    let mut second = another_helper();
    assert_eq!(second.call(Call::Probe).unwrap().unwrap_err().kind, invalid("call"));
    let newer = Configure { generation: GENERATION + 1, ..configure.clone() };
    let refused = second.call(Call::Configure(newer)).unwrap().unwrap_err();
    assert_eq!(refused.kind, invalid("generation"));
    let busy = second.call(Call::Configure(configure)).unwrap().unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Busy, "{busy:?}");
    assert!(second.close().unwrap().success());
}

#[test]
fn an_absent_sandbox_is_nothing_to_inspect_and_fine_to_destroy() {
    let mut rig = Rig::new();
    assert_eq!(rig.call(Call::Inspect(target("none"))), Ok(Answer::Inspected(None)));
    assert_eq!(rig.call(Call::Usage(target("none"))).unwrap_err().kind, ErrorKind::Absent);
    rig.destroy("none");
}

#[test]
fn an_agent_that_cannot_be_executed_is_an_error_that_names_the_step() {
    let mut rig = Rig::new();
    let mut spec = rig.spec("no-loader");
    // Without the host's libraries the probe, which is not static, cannot be loaded.
    spec.image.binds = vec![Bind { source: BIND_SOURCES[0].into(), target: "/opt/usr".into() }];
    let error = rig.call(Call::Create(spec)).unwrap_err();
    assert_eq!(error.message, "execute the agent: no such file or directory");
    assert_eq!(rig.list(), []);
}

#[test]
fn this_host_has_what_sandboxes_need() {
    let mut rig = Rig::new();
    let Ok(Answer::Probed(probe)) = rig.call(Call::Probe) else { panic!("no answer") };
    assert_eq!(probe.missing, []);
    for controller in ["memory", "cpu", "pids"] {
        assert!(probe.controllers.iter().any(|name| name == controller), "{probe:?}");
    }
    assert!(!probe.missing.iter().any(|missing| missing.feature == Feature::Root));
    assert!(!rig.state_dir().join("probe").exists());
}
