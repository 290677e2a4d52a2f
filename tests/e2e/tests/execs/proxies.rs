//! Programs that are silent for long, through a proxy that cuts silent connections.

use std::time::Duration;

use api::client::{Client, ClientError, ClientOptions};
use testkit::IdleProxy;

use crate::stage::{Stage, heard, shell, told, try_told};

/// How long things take in one run.
struct Pace {
    /// How often a silent stream says that it is there.
    heartbeat: &'static str,
    /// What the proxy bears.
    idle: Duration,
    /// What the program is silent for, in seconds.
    silence: u32,
}

/// A quick pace, or with `STACYVM_TEST_LONG` that of the field: the default heartbeat, a common
/// proxy, and a build of three minutes.
fn pace() -> Pace {
    if std::env::var_os("STACYVM_TEST_LONG").is_some() {
        Pace { heartbeat: "15s", idle: Duration::from_secs(30), silence: 180 }
    } else {
        Pace { heartbeat: "1s", idle: Duration::from_secs(3), silence: 12 }
    }
}

fn behind(proxy: &IdleProxy, stage: Stage) -> Stage {
    let server = proxy.url();
    let options = ClientOptions { server, api_key: None, user_id: None };
    Stage { client: Client::new(&options).expect("the proxy's URL is one"), ..stage }
}

/// E2B#1074, E2B#334, cloudflare/sandbox-sdk#400: the stream of a long command was dropped on the
/// way.
#[tokio::test]
async fn a_silent_program_is_followed_through_a_proxy_that_cuts_silent_connections() {
    let Pace { heartbeat, idle, silence } = pace();
    let stage = Stage::start_with(&[("STACYVM_SERVER_HEARTBEAT_INTERVAL", heartbeat)]).await;
    let proxy = IdleProxy::start(stage.server.port(), idle);
    let stage = behind(&proxy, stage);
    let request = shell(&format!("echo begun; sleep {silence}; echo done; exit 3"));
    let exec = stage.background(&request).await;
    let (_sender, receiver, _) = stage.socket(&request).await;
    let stream = stage.stream(&request).await;
    let all = tokio::join!(told(stream), heard(receiver), stage.told(&exec));
    for end in [all.0, all.1, all.2] {
        assert_eq!(end.text(), "begun\ndone\n");
        assert_eq!((end.exit.outcome.as_str(), end.exit.exit_code), ("exited", 3));
    }
    assert_eq!(proxy.cuts(), 0);
    stage.end().await;
}

/// E2B#308, E2B#1448: what was cut off was lost with the connection.
#[tokio::test]
async fn a_stream_that_a_proxy_cut_is_an_error_and_goes_on_where_it_was() {
    let stage = Stage::start_with(&[("STACYVM_SERVER_HEARTBEAT_INTERVAL", "5m")]).await;
    let proxy = IdleProxy::start(stage.server.port(), Duration::from_millis(700));
    let stage = behind(&proxy, stage);
    let line = "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 4";
    let cut = try_told(stage.stream(&shell(line)).await).await;
    assert!(matches!(cut, Err(ClientError::Transport(_) | ClientError::Stream { .. })), "{cut:?}");
    assert!(proxy.cuts() > 0);
    let execs = stage.client.execs(&stage.id).await.unwrap();
    let [exec] = execs.as_slice() else { panic!("one program: {execs:?}") };
    assert_eq!(exec.state, "running");
    stage.write("go", "").await;
    let rest = stage.told_from(&exec.exec_id, 4).await;
    assert_eq!((rest.text().as_str(), rest.exit.exit_code), ("two\n", 4));
    stage.end().await;
}
