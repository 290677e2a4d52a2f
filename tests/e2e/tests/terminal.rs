//! `stacyvm shell` and `stacyvm exec -it` on a real terminal: tmux is the terminal, and the tests
//! type into it and read its screen.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{World, eventually, spawn};
use testkit::{Command, Server, binary};

static TERMINALS: AtomicU32 = AtomicU32::new(0);

/// A terminal of 80 columns and 24 lines with one program in it. Dropping it ends both.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Opens a terminal in which `stacyvm` runs with these arguments.
    fn open(world: &World, args: &[&str]) -> Self {
        // A server of its own: the one of an earlier terminal may still be ending.
        let number = TERMINALS.fetch_add(1, Ordering::Relaxed);
        let socket = world.path(&format!("tmux-{number}")).display().to_string();
        let terminal = Self { socket };
        // It stays when the program has ended, and then shows how.
        let program =
            format!("{} {}; echo \"ended with $?\"; exec cat", binary().display(), args.join(" "));
        let size = ["-x", "80", "-y", "24"];
        let opened = terminal.tmux(&[&["new-session", "-d"], &size[..], &[&program]].concat());
        assert!(opened.status.success(), "{opened:?}");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-f", "/dev/null", "-S", &self.socket]).args(args).env("LANG", "C.UTF-8");
        tmux.env("TERM", "xterm-256color").stdin(Stdio::null());
        tmux.output().expect("tmux is installed")
    }

    /// Types keys as tmux names them.
    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"], keys].concat()).status.success());
    }

    /// Types a line.
    fn line(&self, line: &str) {
        self.keys(&["-l", line]);
        self.keys(&["Enter"]);
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Waits until the screen shows a line of this text.
    async fn shows(&self, text: &str) {
        let has = async || self.screen().lines().any(|line| line.trim_end() == text);
        eventually(&format!("the line {text:?} on the screen:\n{}", self.screen()), has).await;
    }

    /// Waits until the screen shows this text anywhere.
    async fn mentions(&self, text: &str) {
        let has = async || self.screen().contains(text);
        eventually(&format!("{text:?} on the screen:\n{}", self.screen()), has).await;
    }

    /// Waits for the shell to take a line, and empties the screen.
    async fn ready(&self) {
        self.line("clear; printf 'ready%s\\n' .");
        self.shows("ready.").await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[tokio::test]
async fn a_shell_is_a_terminal_with_a_size_letters_and_jobs() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let id = spawn(&server.client()).await.id;
    let terminal = Terminal::open(&world, &["--server", server.url(), "shell", &id]);
    terminal.ready().await;
    terminal.line("stty size; tty; echo \"grün $((6 * 7))\"; id -un");
    for line in ["24 80", "/dev/pts/0", "grün 42", "user"] {
        terminal.shows(line).await;
    }
    assert!(terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]).status.success());
    terminal.ready().await;
    terminal.line("until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; stty size");
    terminal.shows("30 100").await;

    terminal.ready().await;
    terminal.line("sh -c 'echo begun; exec sleep 600'");
    terminal.shows("begun").await;
    terminal.keys(&["C-z"]);
    terminal.mentions("Stopped").await;
    terminal.line("kill %1; wait; echo over");
    terminal.shows("over").await;
    terminal.ready().await;
    terminal.line("sh -c 'echo reading; exec cat'");
    terminal.shows("reading").await;
    terminal.keys(&["C-c"]);
    terminal.line("echo interrupted $?");
    terminal.shows("interrupted 130").await;
    terminal.line("exit 7");
    terminal.shows("ended with 7").await;
    // The terminal is as it was: what is typed is shown again, and a line ends with a line end.
    terminal.line("typed");
    terminal.shows("typed").await;
    drop(terminal);
    server.client().destroy(&id).await.unwrap();
}

#[tokio::test]
async fn an_editor_and_a_program_that_fills_the_screen_are_usable() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let id = spawn(&server.client()).await.id;
    let terminal = Terminal::open(&world, &["--server", server.url(), "shell", &id]);
    terminal.ready().await;
    terminal.line("vim.tiny -u NONE note.txt");
    terminal.mentions("note.txt").await;
    terminal.keys(&["i", "first", "Enter", "second", "Escape"]);
    terminal.shows("second").await;
    terminal.keys(&["k", "d", "d", ":wq", "Enter"]);
    terminal.ready().await;
    terminal.line("printf '<%s>\\n' \"$(cat note.txt)\"");
    terminal.shows("<second>").await;

    terminal.line("top");
    terminal.mentions("%Cpu(s)").await;
    assert!(terminal.screen().contains("stacyvm"), "{}", terminal.screen());
    terminal.keys(&["q"]);
    terminal.ready().await;
    terminal.line("exit");
    terminal.shows("ended with 0").await;
    drop(terminal);
    server.client().destroy(&id).await.unwrap();
}

#[tokio::test]
async fn a_command_gets_a_terminal_by_flags_and_its_code_comes_back() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let id = spawn(&server.client()).await.id;
    let command = [
        "--server",
        server.url(),
        "exec",
        "-it",
        &id,
        "--",
        "sh",
        "-c",
        "'read line; echo got $line; exit 3'",
    ];
    let terminal = Terminal::open(&world, &command);
    terminal.line("something");
    terminal.shows("got something").await;
    terminal.shows("ended with 3").await;
    drop(terminal);

    let run = ["run", "--local", "-it", "--data-dir", &world.path("own").display().to_string()];
    let command = [&run[..], &["--", "sh", "-c", "'stty size; read line; exit 4'"]].concat();
    let terminal = Terminal::open(&world, &command);
    terminal.shows("24 80").await;
    terminal.keys(&["Enter"]);
    terminal.shows("ended with 4").await;
    drop(terminal);
    server.client().destroy(&id).await.unwrap();
}

#[tokio::test]
async fn a_terminal_is_given_back_when_the_sandbox_ends() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let id = spawn(&server.client()).await.id;
    let terminal = Terminal::open(&world, &["--server", server.url(), "shell", &id]);
    terminal.ready().await;
    server.client().destroy(&id).await.unwrap();
    terminal.mentions("ended with 125").await;
    terminal.line("typed");
    terminal.shows("typed").await;
}

#[tokio::test]
async fn standard_input_is_piped_to_a_command_byte_for_byte() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let id = spawn(&server.client()).await.id;
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let file = world.path("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let mut command = Command::new(binary());
    command.args(["exec", "-i", &id, "--", "cat"]).env("STACYVM_SERVER", server.url());
    let output = command.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    server.client().destroy(&id).await.unwrap();
}
