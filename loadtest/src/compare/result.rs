//! What was measured, beside what was aimed at.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::compare::experiment::{Experiment, Method, Of, Target};
use crate::compare::launch::Side;
use crate::failure::Failure;
use crate::outcome::{Outcome, median};
use crate::report::plot::{Colour, Plot};
use crate::report::table::number;

/// The least, the median and the greatest.
type Spread = [f64; 3];

/// One experiment with all its results, in the order of the rounds.
#[derive(Debug)]
pub(super) struct Measured {
    /// What was done.
    pub(super) experiment: Experiment,
    apache: Vec<Outcome>,
    palisade: Vec<Outcome>,
    /// Of the echo server, where there is a floor.
    pub(super) floor: Vec<Outcome>,
    /// What could not be measured.
    pub(super) failures: Vec<String>,
}

/// A figure on both sides.
#[derive(Debug)]
struct Row<'a> {
    metric: &'a str,
    unit: &'a str,
    apache: Option<f64>,
    palisade: Option<f64>,
    ratio: Option<Spread>,
    to_floor: Option<Spread>,
    targets: Vec<(Target, Option<bool>)>,
}

impl Measured {
    /// Nothing yet.
    pub(super) const fn new(experiment: Experiment) -> Self {
        Self { experiment, apache: Vec::new(), palisade: Vec::new(), floor: Vec::new(), failures: Vec::new() }
    }

    /// Whether it is a steady load.
    pub(super) const fn is_steady(&self) -> bool {
        matches!(self.experiment.method, Method::Steady { .. })
    }

    /// Adds what one side did in one round. A failure is kept, and the comparison goes on, unless it was interrupted.
    pub(super) fn add(&mut self, side: Side, outcome: Result<Outcome, Failure>) -> Result<(), Failure> {
        match (outcome, side) {
            (Ok(outcome), Side::Apache) => self.apache.push(outcome),
            (Ok(outcome), Side::Palisade) => self.palisade.push(outcome),
            (Err(Failure::Interrupted), _) => return Err(Failure::Interrupted),
            (Err(failure), side) => {
                self.failures.push(format!("{}, {}: {failure}", self.experiment.name, side.name()));
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row<'_>> {
        self.experiment.shown.iter().map(|metric| self.row(metric)).collect()
    }

    fn row<'a>(&'a self, metric: &'a str) -> Row<'a> {
        let all = || self.apache.iter().chain(&self.palisade).flat_map(|outcome| &outcome.metrics);
        let ratio = ratios(metric, &self.palisade, &self.apache);
        let to_floor = ratios(metric, &self.palisade, &self.floor);
        let palisade = middle(metric, &self.palisade);
        let verdict = |target: &Target| {
            let value = match target.of {
                Of::Apache => ratio.map(|spread| spread[1]),
                Of::Floor => to_floor.map(|spread| spread[1]),
                Of::Itself => palisade,
            };
            (*target, value.map(|value| target.is_met(value)))
        };
        let targets = self.experiment.targets.iter().filter(|target| target.metric == metric);
        // Only where a floor is aimed at does the distance from it say anything.
        let has_floor = self.experiment.targets.iter().any(|t| t.metric == metric && t.of == Of::Floor);
        Row {
            metric,
            unit: all().find(|other| other.name == metric).map_or("", |metric| metric.unit),
            apache: middle(metric, &self.apache),
            palisade,
            ratio,
            to_floor: to_floor.filter(|_| has_floor),
            targets: targets.map(verdict).collect(),
        }
    }

    /// Everything, for programs.
    pub(super) fn json(&self) -> Value {
        let rows = self.rows().into_iter().map(|row| {
            let targets =
                row.targets.iter().map(|(target, met)| json!({ "target": target.text, "met": met }));
            json!({
                "figure": row.metric,
                "unit": row.unit,
                "apache": row.apache,
                "palisade": row.palisade,
                "ratio": row.ratio,
                "to_floor": row.to_floor,
                "targets": targets.collect::<Vec<_>>(),
            })
        });
        let all = |outcomes: &[Outcome]| outcomes.iter().map(Outcome::json).collect::<Vec<_>>();
        json!({
            "title": self.experiment.title,
            "figures": rows.collect::<Vec<_>>(),
            "apache": all(&self.apache),
            "palisade": all(&self.palisade),
            "floor": all(&self.floor),
            "failures": self.failures,
        })
    }

    /// Plots of the last round, both sides in each.
    pub(super) fn plots(&self) -> Vec<Plot> {
        let sides = [
            ("Apache", Colour::Apache, self.apache.last()),
            ("Palisade", Colour::Palisade, self.palisade.last()),
            ("floor", Colour::Floor, self.floor.last()),
        ];
        let present: Vec<(&str, Colour, &Outcome)> =
            sides.into_iter().filter_map(|(name, colour, outcome)| Some((name, colour, outcome?))).collect();
        Plot::of(&present)
    }
}

impl Target {
    fn is_met(&self, value: f64) -> bool {
        if self.at_least { value >= self.bound } else { value <= self.bound }
    }
}

fn values<'a>(metric: &'a str, outcomes: &'a [Outcome]) -> impl Iterator<Item = f64> + 'a {
    outcomes.iter().filter_map(move |outcome| outcome.get(metric))
}

fn middle(metric: &str, outcomes: &[Outcome]) -> Option<f64> {
    let value = median(values(metric, outcomes).collect());
    value.is_finite().then_some(value)
}

/// Both of a round met the same machine, so the ratio is taken per round.
fn ratios(metric: &str, ours: &[Outcome], theirs: &[Outcome]) -> Option<Spread> {
    // What is less than nothing is a difference within the noise: it has no ratio.
    let pairs = values(metric, ours).zip(values(metric, theirs)).filter(|pair| pair.0 >= 0.0 && pair.1 > 0.0);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    let least = ratios.iter().copied().min_by(f64::total_cmp)?;
    let most = ratios.iter().copied().max_by(f64::total_cmp)?;
    Some([least, median(ratios), most])
}

/// The table, its heading first.
pub(super) fn cells(all: &[Measured]) -> Vec<Vec<String>> {
    let heading = ["what", "figure", "Apache", "Palisade", "ratio", "× floor", "target", ""];
    let mut cells = vec![heading.map(str::to_owned).to_vec()];
    for measured in all {
        for (n, row) in measured.rows().into_iter().enumerate() {
            let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            let spread = |spread: Option<Spread>| spread.map_or_else(String::new, show);
            let targets: Vec<&str> = row.targets.iter().map(|(target, _)| target.text).collect();
            let verdicts: Vec<&str> = row.targets.iter().map(|(_, met)| verdict(*met)).collect();
            cells.push(vec![
                if n == 0 { measured.experiment.title.to_owned() } else { String::new() },
                if row.unit.is_empty() {
                    row.metric.to_owned()
                } else {
                    format!("{}, {}", row.metric, row.unit)
                },
                value(row.apache),
                value(row.palisade),
                spread(row.ratio),
                spread(row.to_floor),
                targets.join("; "),
                verdicts.join("; "),
            ]);
        }
    }
    cells
}

const fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    }
}

/// The median, and the spread if there is one.
fn show([least, median, most]: Spread) -> String {
    let short = |value: f64| {
        format!(
            "{value:.*}",
            if value >= 10.0 {
                1
            } else if value >= 0.1 {
                2
            } else {
                3
            }
        )
    };
    if least == most {
        short(median)
    } else {
        format!("{} ({}–{})", short(median), short(least), short(most))
    }
}

/// The table as Markdown, its columns aligned.
pub(super) fn markdown(all: &[Measured]) -> String {
    let cells = cells(all);
    let length = |cell: &String| cell.chars().count();
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|n| cells.iter().filter_map(|row| row.get(n)).map(length).max().unwrap_or(0).max(3))
        .collect();
    let mut text = String::new();
    for (n, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "| {cell}{} ", " ".repeat(width - length(cell)));
        }
        text.push_str("|\n");
        if n == 0 {
            let rule: String = widths.iter().map(|width| format!("| {} ", "-".repeat(*width))).collect();
            text.push_str(&rule);
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::experiment;

    fn outcome(throughput: f64, cpu: f64) -> Outcome {
        let mut outcome = Outcome::new("get");
        outcome.metric("throughput", throughput, "op/s");
        outcome.metric("server cpu", cpu, "us/op");
        outcome
    }

    fn get() -> Measured {
        let experiment = experiment::all().into_iter().find(|experiment| experiment.name == "get").unwrap();
        Measured::new(experiment)
    }

    #[test]
    fn the_ratio_is_taken_per_round() {
        let mut measured = get();
        // The machine was half as fast in the last round; the ratio does not see it.
        for (apache, palisade) in [(200.0, 1000.0), (200.0, 1200.0), (100.0, 500.0)] {
            measured.add(Side::Apache, Ok(outcome(apache, 10.0))).unwrap();
            measured.add(Side::Palisade, Ok(outcome(palisade, 1.0))).unwrap();
            measured.floor.push(outcome(9.0, 0.4));
        }
        let table = markdown(&[measured]);
        let line = |name: &str| {
            let line = table.lines().find(|line| line.contains(name)).unwrap_or_default();
            line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let expected = [
            "",
            "get 100 B, 50 × 16",
            "throughput, op/s",
            "200",
            "1000",
            "5.00 (5.00–6.00)",
            "",
            "≥ 4",
            "met",
            "",
        ];
        assert_eq!(line("throughput"), expected);
        let expected = [
            "",
            "",
            "server cpu, us/op",
            "10.0",
            "1.00",
            "0.10",
            "2.50",
            "≤ 1/6; ≤ 2 × floor",
            "met; missed",
            "",
        ];
        assert_eq!(line("server cpu"), expected);
        assert_eq!(line("p99")[3..6], ["–", "–", ""]);
    }

    #[test]
    fn a_failure_is_kept_and_an_interrupt_ends_it() {
        let mut measured = get();
        measured.add(Side::Palisade, Err(Failure::During("broke".into()))).unwrap();
        assert_eq!(measured.failures, ["get, Palisade: broke"]);
        assert!(markdown(std::slice::from_ref(&measured)).contains("not measured"));
        assert!(measured.add(Side::Apache, Err(Failure::Interrupted)).is_err());
    }
}
