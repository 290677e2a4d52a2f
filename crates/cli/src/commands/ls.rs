//! `ls`: the table of sandboxes, for people; programs take `--json`.

use std::process::ExitCode;

use api::Sandbox;
use model::{Clock as _, SystemClock, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::Global;
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Lists sandboxes, newest first.
pub async fn ls(global: &Global) -> Result<ExitCode, Failed> {
    let sandboxes = plane::client(global)?.list().await?;
    if global.json {
        output::print_json(&sandboxes)?;
    } else {
        output::print(&listing(&sandboxes, SystemClock.now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listing(sandboxes: &[Sandbox], now: Timestamp) -> String {
    if sandboxes.is_empty() {
        return "No active sandboxes\n".to_owned();
    }
    let head = ["ID", "STATE", "PROVIDER", "IMAGE", "CREATED", "EXPIRES"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for sandbox in sandboxes {
        rows.push(vec![
            printable(&sandbox.id),
            printable(&sandbox.state),
            printable(&sandbox.provider),
            printable(&sandbox.image),
            relative(&sandbox.created_at, now),
            relative(&sandbox.expires_at, now),
        ]);
    }
    output::table(&rows)
}

/// A moment as people say it; what is not one is shown as it is.
pub(super) fn relative(moment: &str, now: Timestamp) -> String {
    let Ok(parsed) = OffsetDateTime::parse(moment, &Rfc3339) else { return printable(moment) };
    let seconds = parsed.unix_timestamp() - now.as_micros() / 1_000_000;
    let amount = match seconds.unsigned_abs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d", seconds / 86_400),
    };
    if seconds > 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_and_an_empty_one_a_sentence() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!(listing(&[], now), "No active sandboxes\n");
        let sandbox: Sandbox = serde_json::from_str(
            r#"{"id":"sb-1","state":"running","provider":"native","image":"host",
                "created_at":"2023-11-14T22:11:20.5Z","expires_at":"2023-11-14T23:43:20Z"}"#,
        )
        .unwrap();
        assert_eq!(
            listing(&[sandbox], now),
            "ID    STATE    PROVIDER  IMAGE  CREATED  EXPIRES\n\
             sb-1  running  native    host   2m ago   in 1h30m\n"
        );
    }
}
