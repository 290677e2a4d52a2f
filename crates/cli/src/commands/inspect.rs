//! `inspect`: everything that the server tells about one sandbox, a field a line.

use std::process::ExitCode;

use serde_json::Value;

use crate::args::{Global, Inspect};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Shows everything about a sandbox.
pub async fn inspect(global: &Global, args: &Inspect) -> Result<ExitCode, Failed> {
    let sandbox = plane::client(global)?.sandbox(&args.id).await?;
    if global.json {
        output::print_json(&sandbox)?;
        return Ok(ExitCode::SUCCESS);
    }
    let fields = serde_json::to_value(&sandbox)
        .map_err(|error| Failed::to("write the answer as text", &error))?;
    let mut rows = Vec::new();
    fill(&mut rows, "", &fields);
    output::print(&output::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// A row for every field; fields within fields have dotted names.
fn fill(rows: &mut Vec<Vec<String>>, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                fill(rows, &format!("{name}{dot}{}", printable(field)), value);
            }
        }
        Value::String(text) => rows.push(vec![name.to_owned(), printable(text)]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            rows.push(vec![name.to_owned(), printable(&value.to_string())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_within_fields_have_dotted_names() {
        let mut rows = Vec::new();
        fill(&mut rows, "", &serde_json::json!({ "id": "sb-1", "metadata": { "a": "b" } }));
        assert_eq!(output::table(&rows), "id          sb-1\nmetadata.a  b\n");
    }
}
