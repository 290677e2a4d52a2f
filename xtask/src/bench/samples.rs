//! Durations that were measured, and the figures that describe them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::subject::Measure;

/// Everything measured so far.
#[derive(Default)]
pub struct Samples {
    by_measure: BTreeMap<Measure, Vec<Duration>>,
}

impl Samples {
    pub fn add(&mut self, measure: Measure, took: Duration) {
        self.by_measure.entry(measure).or_default().push(took);
    }

    /// The figures of one measure; `None` when it was never taken.
    pub fn figures(&self, measure: Measure) -> Option<Figures> {
        Figures::of(self.by_measure.get(&measure)?)
    }
}

/// What a row of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub count: usize,
    pub min: Duration,
    pub median: Duration,
    pub p95: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Figures {
    fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort();
        Some(Self {
            count: sorted.len(),
            min: *sorted.first()?,
            median: percentile(&sorted, 50)?,
            p95: percentile(&sorted, 95)?,
            p99: percentile(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }
}

/// The nearest rank: the smallest sample that at least that share of all samples do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_samples_that_were_measured() {
        let samples: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = Figures::of(&samples).unwrap();
        let millis = [figures.min, figures.median, figures.p95, figures.p99, figures.max]
            .map(|it| it.as_millis());
        assert_eq!(millis, [1, 100, 190, 198, 200]);
        assert_eq!(figures.count, 200);
    }

    #[test]
    fn one_sample_is_all_of_its_figures_and_none_has_none() {
        let one = Figures::of(&[Duration::from_millis(7)]).unwrap();
        assert_eq!((one.min, one.p99), (one.max, one.median));
        assert_eq!(Figures::of(&[]), None);
    }
}
