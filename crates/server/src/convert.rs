//! Between the wire and the domain, both ways. The only place where either is spelled in terms of
//! the other.

use std::time::Duration;

use api::{Encoding, ExecRequest, SpawnRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Admission, NewExec, NewSandbox, ProviderReport};
use model::{
    ETag, Event, ExecProgram, ExecRecord, ExecResult, Failure, FileInfo, FileMode, Outcome, Output,
    Reason, Sandbox, SandboxPath, Timestamp, TtySize, Usage, format_duration, parse_duration,
};

use crate::error::{echo, missing};
use crate::extract::owner;

/// A text that was given; the empty one counts as absent, as published clients expect.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A duration in a field.
pub(crate) fn duration(field: &str, text: &str) -> Result<Duration, Failure> {
    parse_duration(text).map_err(|error| {
        Failure::invalid_field(field, error).hint("write it as 300ms, 30s or 1h30m")
    })
}

/// A path in a field or query parameter that must be there.
pub(crate) fn path(field: &str, text: Option<String>) -> Result<SandboxPath, Failure> {
    let text = given(text).ok_or_else(|| missing(field))?;
    text.parse().map_err(|error| {
        Failure::new(Reason::PathInvalid, format!("invalid input: {field}: {error}"))
            .detail("field", field)
    })
}

/// Permission bits in a field.
pub(crate) fn mode(field: &str, text: Option<String>) -> Result<Option<FileMode>, Failure> {
    let parse = |text: String| text.parse().map_err(|error| Failure::invalid_field(field, error));
    given(text).map(parse).transpose()
}

/// A sandbox to make. An owner in the header beats one in the body.
pub(crate) fn new_sandbox(
    request: SpawnRequest,
    header_owner: Option<&str>,
) -> Result<NewSandbox, Failure> {
    if let Some(template) = given(request.template) {
        let message = format!("this server has no templates: {}", echo(&template));
        return Err(Failure::new(Reason::Unsupported, message).detail("field", "template"));
    }
    let body_owner = request.owner_id.map(|text| owner("owner_id", &text)).transpose()?.flatten();
    Ok(NewSandbox {
        image: given(request.image),
        provider: given(request.provider),
        memory_mib: request.memory_mb,
        vcpus: request.vcpus,
        ttl: given(request.ttl).map(|text| duration("ttl", &text)).transpose()?,
        owner: header_owner.map(ToOwned::to_owned).or(body_owner),
        metadata: request.metadata.unwrap_or_default(),
        idempotency_key: None,
    })
}

/// How the call that starts a program waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// To its end, for an answer in one piece.
    ForResult,
    /// While it streams the output.
    ForLines,
    /// Not at all.
    Not,
    /// On a WebSocket, over which it also talks to the program.
    OnSocket,
}

impl Waits {
    /// What the request asks for.
    pub(crate) fn of(request: &ExecRequest) -> Result<Self, Failure> {
        match (request.background.unwrap_or(false), request.stream.unwrap_or(false)) {
            (true, true) => {
                let problem = "a program in the background is not streamed as well";
                Err(Failure::invalid_field("stream", problem)
                    .hint("leave `stream` out, and read GET .../execs/{id}/output"))
            }
            (true, false) => Ok(Self::Not),
            (false, true) => Ok(Self::ForLines),
            (false, false) => Ok(Self::ForResult),
        }
    }
}

/// A program to run.
pub(crate) fn new_exec(request: ExecRequest, waits: Waits) -> Result<NewExec, Failure> {
    let command = request.command.unwrap_or_default();
    let args = request.args.unwrap_or_default();
    let mode = given(request.mode);
    let program = match mode.as_deref() {
        None | Some("shell") => ExecProgram::shell(&command, &args),
        Some("argv") if command.trim().is_empty() => {
            return Err(missing("command").hint("in mode argv the command is the program"));
        }
        Some("argv") => ExecProgram::Argv(std::iter::once(command).chain(args).collect()),
        Some(other) => {
            let message = format!("invalid input: unsupported exec mode \"{}\"", echo(other));
            return Err(Failure::new(Reason::InvalidField, message)
                .detail("field", "mode")
                .hint("the modes are shell and argv"));
        }
    };
    let timeout = given(request.timeout).map(|text| duration("timeout", &text)).transpose()?;
    let stdin = request.stdin.unwrap_or(false);
    if stdin && request.input.is_some() {
        let problem = "with `input` there is nothing more to be sent";
        return Err(Failure::invalid_field("stdin", problem).hint("send one of the two"));
    }
    if stdin && matches!(waits, Waits::ForResult | Waits::ForLines) {
        let problem = "this call has no way to send it, and the program would wait for ever";
        return Err(Failure::invalid_field("stdin", problem)
            .hint("give it as `input`, start the program with `background`, or use exec/ws"));
    }
    let kill_on_disconnect = request.kill_on_disconnect.unwrap_or(waits == Waits::ForResult);
    if kill_on_disconnect && waits == Waits::Not {
        let problem = "a program in the background does not end with its client";
        return Err(Failure::invalid_field("kill_on_disconnect", problem));
    }
    Ok(NewExec {
        program,
        env: request.env.unwrap_or_default().into_iter().collect(),
        workdir: given(request.workdir),
        // Zero is published as the word for none; the engine's maximum still holds.
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
        input: request.input.map(Bytes::from),
        stdin,
        tty: request.tty.map(tty_size),
        user: given(request.user),
        kill_on_disconnect,
        idempotency_key: None,
    })
}

/// A terminal's size.
pub(crate) fn tty_size(size: api::TtySize) -> TtySize {
    TtySize { cols: size.cols, rows: size.rows }
}

/// A program that may outlive its call, as clients see it.
pub(crate) fn exec(record: ExecRecord) -> api::Exec {
    let end = record.end.as_ref();
    api::Exec {
        exec_id: record.id.to_string(),
        sandbox_id: record.sandbox.to_string(),
        state: if end.is_some() { "ended" } else { "running" }.to_owned(),
        background: record.background,
        tty: record.tty,
        owner_id: record.owner,
        started_at: record.started_at.to_string(),
        ended_at: end.map(|end| end.at.to_string()),
        outcome: end.map(|end| end.outcome.word().to_owned()),
        exit_code: end.map(|end| end.outcome.exit_code()),
        signal: end.and_then(|end| end.outcome.signal()),
        message: end.and_then(|end| start_message(&end.outcome)),
        duration: end.map(|end| format_duration(end.duration)),
        stdout_bytes: end.map(|end| end.stdout_bytes),
        stderr_bytes: end.map(|end| end.stderr_bytes),
        usage: end.map(|end| usage(end.usage)),
    }
}

/// Why a program never ran.
pub(crate) fn start_message(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::StartFailed(_, message) => Some(message.clone()),
        Outcome::Exited(_)
        | Outcome::Signaled(_)
        | Outcome::TimedOut
        | Outcome::OomKilled
        | Outcome::Canceled
        | Outcome::SandboxLost => None,
    }
}

/// A sandbox as clients see it.
pub(crate) fn sandbox(sandbox: Sandbox, preview_domain: &str) -> api::Sandbox {
    api::Sandbox {
        id: sandbox.id.to_string(),
        state: sandbox.phase.wire_state().to_owned(),
        provider: sandbox.provider,
        image: sandbox.image,
        memory_mb: sandbox.resources.memory_mib,
        vcpus: sandbox.resources.vcpus,
        owner_id: sandbox.owner,
        worker_id: Some("local".to_owned()),
        created_at: sandbox.created_at.to_string(),
        expires_at: sandbox.expires_at.to_string(),
        metadata: sandbox.metadata,
        preview_domain: Some(preview_domain.to_owned()),
        end_reason: sandbox.phase.end_reason().map(|reason| reason.word().to_owned()),
        error: sandbox.failure.map(|(reason, message)| api::SandboxError {
            reason: reason.word().to_owned(),
            message,
        }),
    }
}

/// An admission as clients see it.
pub(crate) fn admission(admission: &Admission) -> api::Admission {
    api::Admission {
        allowed: admission.allowed,
        queueable: false,
        reason: admission.reason.map(ToOwned::to_owned),
        active_sandboxes: u64::from(admission.active_sandboxes),
        max_sandboxes: u64::from(admission.max_sandboxes),
        active_owner_sandboxes: some(admission.active_owner_sandboxes),
        max_owner_sandboxes: some(admission.max_owner_sandboxes),
        max_ttl: (!admission.max_ttl.is_zero()).then(|| format_duration(admission.max_ttl)),
    }
}

/// A number that is left out when it is zero, as published.
fn some(number: u32) -> Option<u64> {
    (number != 0).then(|| u64::from(number))
}

/// A result in one piece.
pub(crate) fn exec_result(result: &ExecResult, encoding: Encoding) -> api::ExecResult {
    let mut stderr = output(&result.stderr, encoding);
    if let (model::Outcome::StartFailed(_, message), true) = (&result.outcome, stderr.is_empty()) {
        stderr = text(message.as_bytes(), encoding);
    }
    api::ExecResult {
        exit_code: result.outcome.exit_code(),
        stdout: output(&result.stdout, encoding),
        stderr,
        duration: format_duration(result.duration),
        outcome: result.outcome.word().to_owned(),
        signal: result.outcome.signal(),
        truncated: result.stdout.is_truncated() || result.stderr.is_truncated(),
        stdout_bytes: result.stdout.total(),
        stderr_bytes: result.stderr.total(),
        usage: usage(result.usage),
        exec_id: result.id.to_string(),
    }
}

fn output(output: &Output, encoding: Encoding) -> String {
    match encoding {
        Encoding::Utf8 => output.text(),
        Encoding::Base64 => STANDARD.encode(output.bytes()),
    }
}

fn text(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

/// What a program used, as clients see it.
pub(crate) fn usage(usage: Usage) -> api::Usage {
    api::Usage {
        cpu_ms: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
        memory_peak_bytes: usage.memory_peak_bytes,
    }
}

/// The contents in a write request.
pub(crate) fn content(text: Option<String>, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    let text = text.unwrap_or_default();
    match encoding {
        Encoding::Utf8 => Ok(text.into_bytes()),
        Encoding::Base64 => STANDARD
            .decode(text)
            .map_err(|error| Failure::invalid_field("content", format!("not base64: {error}"))),
    }
}

/// A file as clients see it.
pub(crate) fn file_info(info: FileInfo) -> api::FileInfo {
    api::FileInfo {
        name: info.name().to_owned(),
        path: info.path,
        size: info.size,
        mode: info.mode.to_string(),
        is_dir: info.kind == model::FileKind::Directory,
        mod_time: info.modified.to_string(),
        kind: info.kind.word().to_owned(),
        uid: info.uid,
        gid: info.gid,
        symlink_target: info.symlink_target,
        etag: info.etag.as_ref().map(ETag::quoted),
        name_base64: info.name_bytes.map(|name| STANDARD.encode(name)),
    }
}

/// A found line as clients see it.
pub(crate) fn grep_line(line: model::GrepLine) -> api::GrepLine {
    let model::GrepLine { path, line, column, text } = line;
    api::GrepLine { path, line, column, text }
}

/// Something that happened to a file as clients see it.
pub(crate) fn file_event(event: model::FileEvent) -> api::FileEvent {
    let kind = event.change.word().to_owned();
    api::FileEvent { kind, path: event.path, from: event.from, is_dir: event.is_dir }
}

/// A provider as clients see it.
pub(crate) fn provider(report: &ProviderReport) -> api::Provider {
    api::Provider {
        name: report.name.clone(),
        healthy: report.healthy.is_ok(),
        default: report.default,
        latency_ms: u64::try_from(report.latency.as_millis()).unwrap_or(u64::MAX),
        last_checked: report.checked_at.to_string(),
        error: report.healthy.as_ref().err().map(|failure| failure.message.clone()),
        capabilities: report.capabilities.iter().map(|word| (*word).to_owned()).collect(),
        runtime_count: report.runtime_count.map(|count| count as u64),
    }
}

/// A provider with its configuration.
pub(crate) fn provider_detail(report: &ProviderReport) -> api::ProviderDetail {
    api::ProviderDetail {
        name: report.name.clone(),
        healthy: report.healthy.is_ok(),
        default: report.default,
        sandbox_count: report.sandbox_count as u64,
        health: provider(report),
        config: report.facts.iter().cloned().collect(),
    }
}

/// An event as clients see it.
pub(crate) fn event(event: Event) -> api::Event {
    api::Event {
        id: format!("evt-{}", event.seq),
        kind: event.kind.word().to_owned(),
        sandbox_id: event.sandbox.map(|id| id.to_string()),
        timestamp: event.at.to_string(),
        data: event.data,
        seq: event.seq,
    }
}

/// How long something has run.
pub(crate) fn uptime(now: Timestamp, started_at: Timestamp) -> String {
    format_duration(now.since(started_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(body: &str) -> Result<NewExec, Failure> {
        let request = serde_json::from_str(body).unwrap();
        let waits = Waits::of(&request)?;
        new_exec(request, waits)
    }

    #[test]
    fn the_default_mode_is_a_shell_line_that_may_be_empty() {
        let program = |body| exec(body).unwrap().program;
        assert_eq!(program("{}"), ExecProgram::Shell(String::new()));
        assert_eq!(
            program(r#"{"command":"echo","args":["a b"],"mode":""}"#),
            ExecProgram::Shell("echo 'a b'".into())
        );
        assert_eq!(
            program(r#"{"command":"echo","args":["a b"],"mode":"argv"}"#),
            ExecProgram::Argv(vec!["echo".into(), "a b".into()])
        );
    }

    #[test]
    fn bad_execs_name_the_field() {
        for (body, field) in [
            (r#"{"mode":"x"}"#, "mode"),
            (r#"{"mode":"argv","command":" "}"#, "command"),
            (r#"{"timeout":"soon"}"#, "timeout"),
            (r#"{"timeout":"-1s"}"#, "timeout"),
            (r#"{"background":true,"stream":true}"#, "stream"),
            (r#"{"background":true,"stdin":true,"input":"x"}"#, "stdin"),
            (r#"{"stdin":true}"#, "stdin"),
            (r#"{"background":true,"kill_on_disconnect":true}"#, "kill_on_disconnect"),
        ] {
            let failure = exec(body).unwrap_err();
            assert_eq!(failure.details["field"], field.into(), "{body}");
            assert!(failure.message.starts_with("invalid input: "), "{}", failure.message);
        }
    }

    #[test]
    fn a_plain_exec_ends_with_its_client_and_a_streamed_one_does_not() {
        let kills = |body| exec(body).unwrap().kill_on_disconnect;
        assert!(kills("{}"));
        assert!(!kills(r#"{"stream":true}"#));
        assert!(kills(r#"{"stream":true,"kill_on_disconnect":true}"#));
        assert!(!kills(r#"{"kill_on_disconnect":false}"#));
        assert!(!kills(r#"{"background":true}"#));
    }

    #[test]
    fn a_template_is_refused_aloud() {
        let request = SpawnRequest { template: Some("py".into()), ..Default::default() };
        assert_eq!(new_sandbox(request, None).unwrap_err().reason, Reason::Unsupported);
    }

    #[test]
    fn the_owner_in_the_header_beats_the_one_in_the_body() {
        let request = || SpawnRequest { owner_id: Some("body".into()), ..Default::default() };
        let owner = |header| new_sandbox(request(), header).unwrap().owner.unwrap();
        assert_eq!(owner(Some("header")), "header");
        assert_eq!(owner(None), "body");
    }
}
