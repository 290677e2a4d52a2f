//! `ps`: the table of a sandbox's commands, for people; programs take `--json`.

use std::process::ExitCode;

use api::Exec;
use model::{Clock as _, SystemClock, Timestamp};

use crate::args::{Global, Ps};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

use super::ls::relative;

/// Lists commands, newest first.
pub async fn ps(global: &Global, args: &Ps) -> Result<ExitCode, Failed> {
    let execs = plane::client(global)?.execs(&args.id).await?;
    if global.json {
        output::print_json(&execs)?;
    } else {
        output::print(&listing(&execs, SystemClock.now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listing(execs: &[Exec], now: Timestamp) -> String {
    if execs.is_empty() {
        return "No commands\n".to_owned();
    }
    let head = ["EXEC", "STATE", "STARTED", "DURATION", "OUTCOME", "CODE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), printable);
    for exec in execs {
        rows.push(vec![
            printable(&exec.exec_id),
            printable(&exec.state),
            relative(&exec.started_at, now),
            or_dash(exec.duration.as_deref()),
            or_dash(exec.outcome.as_deref()),
            or_dash(exec.exit_code.map(|code| code.to_string()).as_deref()),
        ]);
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_and_an_empty_one_a_sentence() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!(listing(&[], now), "No commands\n");
        let execs: Vec<Exec> = serde_json::from_str(
            r#"[{"exec_id":"ex-2","sandbox_id":"sb-1","state":"running","background":true,
                 "tty":false,"started_at":"2023-11-14T22:13:10Z"},
                {"exec_id":"ex-1","sandbox_id":"sb-1","state":"ended","background":true,
                 "tty":false,"started_at":"2023-11-14T22:11:20Z","duration":"1.5s",
                 "outcome":"exited","exit_code":3}]"#,
        )
        .unwrap();
        assert_eq!(
            listing(&execs, now),
            "EXEC  STATE    STARTED  DURATION  OUTCOME  CODE\n\
             ex-2  running  10s ago  -         -        -\n\
             ex-1  ended    2m ago   1.5s      exited   3\n"
        );
    }
}
