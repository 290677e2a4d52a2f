//! What is left when the server is killed at the worst moment, and what comes back.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;

use api::exec::ExecRequest;
use api::sandbox::SpawnRequest;
use support::{World, eventually, output, sh, spawn};
use testkit::{Command, Server, ServerOptions, traces};

#[tokio::test]
async fn a_sandbox_survives_a_killed_server_with_its_processes_and_files() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    output(&client, &id, "echo kept > a; setsid sleep 600 >/dev/null 2>&1 & echo $!").await;
    let server = server.kill_and_restart();
    let client = server.client();
    assert_eq!(client.sandbox(&id).await.unwrap().state, "running");
    assert_eq!(output(&client, &id, "cat a; pgrep -c sleep").await, "kept\n1\n");
    client.destroy(&id).await.unwrap();
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn creates_cut_off_by_a_kill_leave_no_orphans_and_no_lies() {
    let world = World::new();
    let mut server = Server::start(&world.data_dir());
    for round in 0..6_usize {
        let client = Arc::new(server.client());
        let creates: Vec<_> = (0..4)
            .map(|_| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { client.spawn(&SpawnRequest::default()).await })
            })
            .collect();
        // Later in each round, so that every step of a create is hit in some round.
        let listed = async || client.list().await.is_ok_and(|rows| rows.len() >= round % 4);
        eventually("some rows are there", listed).await;
        server.kill();
        for create in creates {
            let _ = create.await.unwrap();
        }
        server = Server::start(&world.data_dir());
        assert_rows_are_true(&server).await;
    }
    let client = server.client();
    for sandbox in client.list().await.unwrap() {
        client.destroy(&sandbox.id).await.unwrap();
    }
    drop(server);
    world.assert_no_traces();
}

/// Every row says `running` and works, or says why it failed.
async fn assert_rows_are_true(server: &Server) {
    let client = server.client();
    for sandbox in client.list().await.expect("sandboxes are listed") {
        match sandbox.state.as_str() {
            "running" => assert_eq!(output(&client, &sandbox.id, "echo ok").await, "ok\n"),
            "error" => assert!(sandbox.error.is_some(), "{sandbox:?}"),
            other => panic!("state {other} after a restart: {sandbox:?}"),
        }
    }
}

#[tokio::test]
async fn a_delete_cut_off_by_a_kill_is_finished() {
    let world = World::new();
    let mut server = Server::start(&world.data_dir());
    let client = server.client();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(spawn(&client).await.id);
    }
    for id in &ids {
        let request = client.destroy_soon(id).await;
        assert!(request.is_ok(), "{request:?}");
    }
    server.kill();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    for id in &ids {
        let gone = async || client.sandbox(id).await.is_err();
        eventually("the sandbox is gone", gone).await;
    }
    eventually("nothing is left but the helper", async || {
        traces(&world.data_dir()).iter().all(|trace| trace.contains("stacyvm-jail"))
    })
    .await;
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn a_call_cut_off_by_a_kill_leaves_no_program_behind() {
    let world = World::new();
    let mut server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    let request = ExecRequest {
        command: Some("echo > /tmp/began; sleep 600".into()),
        ..ExecRequest::default()
    };
    let (sleeper, name) = (server.client(), id.clone());
    let call = tokio::spawn(async move { sleeper.exec(&name, &request).await });
    let began = async || client.stat_file(&id, "/tmp/began").await.is_ok();
    eventually("the program began", began).await;
    server.kill();
    assert!(call.await.unwrap().is_err());
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let ended = async || sh(&client, &id, "pgrep -c sleep").await.stdout == "0\n";
    eventually("the program ended with its call", ended).await;
    client.destroy(&id).await.unwrap();
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn a_killed_agent_is_noticed_and_cleaned_up() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let (id, other) = (spawn(&client).await.id, spawn(&client).await.id);
    let agents: Vec<String> = traces(&world.data_dir())
        .into_iter()
        .filter(|trace| trace.starts_with("process") && trace.contains("stacyvm-agent"))
        .filter_map(|trace| Some(trace.split("/proc/").nth(1)?.split(' ').next()?.to_owned()))
        .collect();
    let mine = agents.iter().find(|pid| {
        let host = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        host.contains(&id)
    });
    let pid = mine.expect("the sandbox's agent is found by its cgroup");
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    let request = ExecRequest { command: Some("true".into()), ..ExecRequest::default() };
    let error = client.exec(&id, &request).await.unwrap_err();
    let status = error.api().expect("a typed answer").status;
    assert!([404, 409, 503].contains(&status), "{error:?}");
    assert_eq!(output(&client, &other, "echo ok").await, "ok\n");
    client.destroy(&id).await.unwrap();
    client.destroy(&other).await.unwrap();
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn a_sandbox_expires_within_a_second_of_its_time() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let request = SpawnRequest { ttl: Some("1s".into()), ..SpawnRequest::default() };
    let id = client.spawn(&request).await.unwrap().id;
    let gone = async || client.sandbox(&id).await.is_err();
    eventually("the sandbox expires", gone).await;
    assert!(client.list().await.unwrap().is_empty());
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn two_deletes_at_once_both_succeed_and_a_third_too() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    let (one, two) = tokio::join!(client.destroy(&id), client.destroy(&id));
    assert_eq!(
        (one.unwrap().status, two.unwrap().status),
        ("destroyed".into(), "destroyed".into())
    );
    assert_eq!(client.destroy(&id).await.unwrap().status, "destroyed");
    let unknown = client.destroy("sb-aaaaaaaaaaaaaaaaaaaa").await.unwrap_err();
    assert_eq!(unknown.api().unwrap().status, 404);
    drop(server);
    world.assert_no_traces();
}

#[tokio::test]
async fn a_second_server_on_one_directory_is_refused() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let log = Server::try_start(&world.data_dir(), ServerOptions::default()).unwrap_err();
    assert!(log.contains("error:") && log.contains(&*world.data_dir().to_string_lossy()), "{log}");
    let client = server.client();
    let id = spawn(&client).await.id;
    assert_eq!(output(&client, &id, "echo ok").await, "ok\n");
    client.destroy(&id).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_so() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let listen = format!("127.0.0.1:{}", server.port());
    let output = Command::new(testkit::binary())
        .args(["serve", "--listen", &listen, "--data-dir"])
        .arg(world.path("other"))
        .env("HOME", world.path(""))
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&listen) && said.contains("hint:"), "{said}");
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_used_is_an_error_that_says_so() {
    let world = World::new();
    let file = world.path("file");
    std::fs::write(&file, "").unwrap();
    let log = Server::try_start(&file, ServerOptions::default());
    let Err(log) = log else { panic!("a server on a file") };
    assert!(log.contains("error:") && log.contains("hint:"), "{log}");
}
