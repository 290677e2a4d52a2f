//! The result of a run, as a table for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::flows::{Flow, Flows};
use super::host::Facts;
use super::memory::Memory;
use super::samples::{Figures, Samples};
use super::subject::{BUBBLEWRAP, Measure};

pub struct Report {
    pub rounds: u32,
    pub host: Facts,
    pub samples: Samples,
    pub memory: Memory,
    pub flows: Flows,
}

impl Report {
    /// Plain text, at most 100 columns wide but for the facts of the host.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.host {
            line(&mut text, &format!("{name:12} {value}"));
        }
        line(&mut text, &format!("{:12} bwrap {}", "peer", BUBBLEWRAP.join(" ")));
        line(&mut text, &format!("\n{} rounds, interleaved; milliseconds", self.rounds));
        let heads = ["median", "p95", "p99", "min", "max"].map(|it| format!("{it:>9}")).concat();
        line(&mut text, &format!("{:32}{heads}  mark", ""));
        for (measure, figures) in self.rows() {
            let Figures { min, median, p95, p99, max, .. } = figures;
            let figures =
                [median, p95, p99, min, max].map(|it| format!("{:9.2}", millis(it))).concat();
            let mark = measure.mark().map(|mark| {
                let verdict = if median <= mark { "met" } else { "missed" };
                format!("  <= {} {verdict}", millis(mark))
            });
            line(&mut text, &format!("{:32}{figures}{}", measure.name(), mark.unwrap_or_default()));
        }
        text.push('\n');
        for (measure, peer, ratio) in self.ratios() {
            let sides = format!("{} / {}", measure.name(), peer.name());
            line(&mut text, &format!("{sides:60}{ratio:8.3} of the median"));
        }
        line(&mut text, &self.memory_text());
        text.push_str(&self.flows_text());
        text
    }

    fn memory_text(&self) -> String {
        let memory = &self.memory;
        let each = |kib: u64| kib / u64::from(memory.idle_sandboxes.max(1));
        format!(
            "\nmemory, KiB\n{:32}{:9} RSS {:9} PSS, and {} PSS in its own processes\n\
             {:32}{:9} PSS {:9} private, by {} processes in {} sandboxes\n{:32}{:9} PSS",
            "server",
            memory.server_rss_kib,
            memory.server_pss_kib,
            memory.spawner_pss_kib,
            "an idle sandbox",
            each(memory.sandbox_pss_kib),
            each(memory.sandbox_private_kib),
            memory.sandbox_processes,
            memory.idle_sandboxes,
            "growth of the server for each",
            each(memory.growth_pss_kib),
        )
    }

    fn flows_text(&self) -> String {
        let heads = ["median", "min", "max"].map(|it| format!("{it:>9}")).concat();
        let mut text = format!("\nflows {:34}{heads}  mark\n", "");
        for flow in &self.flows.flows {
            let (low, high) = (flow.samples.first(), flow.samples.last());
            let figures = [Some(&flow.median()), low, high]
                .map(|it| format!("{:9.2}", it.copied().unwrap_or(0.0)))
                .concat();
            let mark = flow
                .mark
                .zip(flow.met())
                .map(|(mark, met)| format!("  {mark} {}", if met { "met" } else { "missed" }));
            let name = format!("{} [{}]", flow.name, flow.unit);
            line(&mut text, &format!("{name:40}{figures}{}", mark.unwrap_or_default()));
        }
        let (before, peak) = self.flows.server_rss_kib;
        line(&mut text, &format!("server, KiB RSS: {before} before, at most {peak} during"));
        text
    }

    /// The same, with durations in microseconds.
    pub fn json(&self) -> Value {
        let host: Map<_, _> =
            self.host.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let measures: Vec<_> = self.rows().into_iter().map(row_json).collect();
        let ratios = self.ratios();
        let ratios: Vec<_> = ratios
            .iter()
            .map(|(measure, peer, ratio)| {
                json!({ "name": measure.name(), "peer": peer.name(), "median_ratio": ratio })
            })
            .collect();
        let memory = &self.memory;
        json!({
            "rounds": self.rounds,
            "host": host,
            "measures": measures,
            "ratios": ratios,
            "memory": {
                "server_rss_kib": memory.server_rss_kib,
                "server_pss_kib": memory.server_pss_kib,
                "spawner_pss_kib": memory.spawner_pss_kib,
                "idle_sandboxes": memory.idle_sandboxes,
                "sandbox_processes": memory.sandbox_processes,
                "sandboxes_pss_kib": memory.sandbox_pss_kib,
                "sandboxes_private_kib": memory.sandbox_private_kib,
                "growth_pss_kib": memory.growth_pss_kib,
            },
            "flows": self.flows.flows.iter().map(flow_json).collect::<Vec<_>>(),
            "flows_server_rss_kib": [self.flows.server_rss_kib.0, self.flows.server_rss_kib.1],
        })
    }

    fn rows(&self) -> Vec<(Measure, Figures)> {
        let rows = Measure::ALL.into_iter();
        rows.filter_map(|measure| Some((measure, self.samples.figures(measure)?))).collect()
    }

    /// Our medians divided by those of the peers that were there.
    fn ratios(&self) -> Vec<(Measure, Measure, f64)> {
        let mut ratios = Vec::new();
        for (measure, ours) in self.rows() {
            for &peer in measure.peers() {
                if let Some(theirs) = self.samples.figures(peer) {
                    let ratio = ours.median.as_secs_f64() / theirs.median.as_secs_f64();
                    ratios.push((measure, peer, ratio));
                }
            }
        }
        ratios
    }
}

fn row_json((measure, figures): (Measure, Figures)) -> Value {
    let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    json!({
        "name": measure.name(),
        "count": figures.count,
        "min_us": micros(figures.min),
        "median_us": micros(figures.median),
        "p95_us": micros(figures.p95),
        "p99_us": micros(figures.p99),
        "max_us": micros(figures.max),
        "mark_median_us": measure.mark().map(micros),
    })
}

fn flow_json(flow: &Flow) -> Value {
    json!({
        "name": flow.name,
        "unit": flow.unit,
        "median": flow.median(),
        "min": flow.samples.first(),
        "max": flow.samples.last(),
        "mark": flow.mark,
    })
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut samples = Samples::default();
        samples.add(Measure::Cycle, Duration::from_millis(5));
        samples.add(Measure::LiveExec, Duration::from_millis(3));
        samples.add(Measure::Bubblewrap, Duration::from_millis(4));
        let memory = Memory { idle_sandboxes: 2, sandbox_pss_kib: 80, ..Memory::default() };
        let flow = Flow { name: "read", unit: "MB/s", samples: vec![600.0], mark: Some(500.0) };
        let flows = Flows { flows: vec![flow], server_rss_kib: (1, 2) };
        Report { rounds: 1, host: vec![("kernel", "6.18".into())], samples, memory, flows }
    }

    #[test]
    fn the_table_shows_rows_marks_and_ratios_of_what_was_measured() {
        let table = report().table();
        for part in [
            "kernel       6.18",
            "     5.00     5.00     5.00     5.00     5.00  <= 10 met",
            "     3.00     3.00     3.00     3.00     3.00  <= 2.5 missed",
            "   1.250 of the median",
            "       40 PSS",
            "   600.00   600.00   600.00  500 met",
        ] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert!(!table.contains("docker"));
    }

    #[test]
    fn the_json_has_the_same_figures() {
        let json = report().json();
        assert_eq!(json["measures"][0]["median_us"], 5000);
        assert_eq!(json["ratios"][0]["peer"], "bwrap");
        assert_eq!(json["measures"].as_array().unwrap().len(), 3);
    }
}
