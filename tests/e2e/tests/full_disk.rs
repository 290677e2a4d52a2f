//! A state directory on a small file system that fills up, or that is mounted read-only.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::{Path, PathBuf};

use support::{World, output, sh, spawn};
use testkit::{Command, Server, ServerOptions};

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).expect("a directory can be made");
        mount(&["-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs"], &at);
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str], at: &Path) {
    assert!(
        Command::new("mount")
            .args(args)
            .arg(at)
            .status()
            .expect("mount is part of every Debian system")
            .success()
    );
}

#[tokio::test]
async fn a_full_disk_refuses_creates_and_recovers() {
    let world = World::new();
    let disk = SmallDisk::mount(world.path("disk"));
    let data_dir = disk.0.join("data");
    let server = Server::start(&data_dir);
    let client = server.client();
    let id = spawn(&client).await.id;
    let filled = sh(&client, &id, "cat /dev/zero > fill").await;
    assert!(filled.stderr.contains("No space left"), "{filled:?}");
    let failed = client.spawn(&api::sandbox::SpawnRequest::default()).await;
    if let Err(error) = &failed {
        let answer = error.api().expect("a typed answer");
        assert_eq!(answer.status, 503, "{error:?}");
        assert!(["store_unavailable", "provider_unavailable"].contains(&&*answer.body.reason));
    }
    // What cannot be written down does not happen; reading goes on.
    assert_eq!(client.sandbox(&id).await.unwrap().state, "running");
    mount(&["-o", "remount,size=24m"], &disk.0);
    output(&client, &id, "rm fill").await;
    let again = spawn(&client).await.id;
    assert_eq!(output(&client, &again, "echo ok").await, "ok\n");
    for sandbox in client.list().await.unwrap() {
        client.destroy(&sandbox.id).await.unwrap();
    }
    drop(server);
    assert_eq!(testkit::traces(&data_dir).iter().filter(|it| !it.starts_with("mount")).count(), 0);
}

#[tokio::test]
async fn a_read_only_state_directory_is_an_error_that_says_so() {
    let world = World::new();
    let disk = SmallDisk::mount(world.path("disk"));
    mount(&["-o", "remount,ro"], &disk.0);
    let said = Server::try_start(&disk.0.join("data"), ServerOptions::default());
    let Err(said) = said else { panic!("a server on a read-only directory") };
    assert!(said.contains("error:") && said.contains("hint:"), "{said}");
}
