//! The result: medians of both sides, and the ratio with its spread over the rounds.

use std::fmt::Write as _;

/// What one side did in one round of one load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Operations per second.
    pub(super) throughput: f64,
    /// Median latency in milliseconds.
    pub(super) p50_ms: f64,
    /// 99th percentile of latency in milliseconds.
    pub(super) p99_ms: f64,
    /// Processor time of all servers per operation, in microseconds.
    pub(super) cpu_us: f64,
    /// Resident memory of all servers after the load, in MiB.
    pub(super) rss_mib: f64,
}

/// One round of one load: both sides, one right after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// Apache ZooKeeper.
    pub(super) apache: Sample,
    /// Palisade.
    pub(super) palisade: Sample,
}

/// A column: its heading, its decimals, its value.
type Column = (&'static str, usize, fn(&Sample) -> f64);

const COLUMNS: [Column; 5] = [
    ("op/s", 0, |s| s.throughput),
    ("p50 ms", 2, |s| s.p50_ms),
    ("p99 ms", 2, |s| s.p99_ms),
    ("CPU us/op", 1, |s| s.cpu_us),
    ("RSS MiB", 0, |s| s.rss_mib),
];

/// A Markdown table: per load the median of each side, and the ratio of Palisade to Apache as `median (least-most)`.
pub(super) fn render(results: &[(&str, Vec<Pair>)]) -> String {
    let mut rows = vec![heading()];
    for (load, pairs) in results {
        rows.push(side(load, "Apache", pairs, |pair| &pair.apache));
        rows.push(side("", "Palisade", pairs, |pair| &pair.palisade));
        rows.push(ratios(pairs));
    }
    align(&rows)
}

fn heading() -> Vec<String> {
    let fixed = ["load", "side"].map(str::to_owned);
    fixed.into_iter().chain(COLUMNS.iter().map(|(name, ..)| (*name).to_owned())).collect()
}

fn side(load: &str, name: &str, pairs: &[Pair], of: fn(&Pair) -> &Sample) -> Vec<String> {
    let value = |(_, decimals, column): &Column| {
        let median = spread(pairs.iter().map(|pair| column(of(pair))).collect()).1;
        format!("{median:.decimals$}")
    };
    [load.to_owned(), name.to_owned()].into_iter().chain(COLUMNS.iter().map(value)).collect()
}

/// Both sides of a round met the same machine, so the ratio is taken per round.
fn ratios(pairs: &[Pair]) -> Vec<String> {
    let value = |(_, _, column): &Column| {
        let ratio = |pair: &Pair| column(&pair.palisade) / column(&pair.apache);
        let (least, median, most) = spread(pairs.iter().map(ratio).collect());
        format!("{median:.2} ({least:.2}-{most:.2})")
    };
    [String::new(), "ratio".to_owned()].into_iter().chain(COLUMNS.iter().map(value)).collect()
}

/// The least, the median and the greatest; of an even number, the median is the mean of the middle two.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.first(), values.get(middle), values.last()) {
        (Some(least), Some(upper), Some(most)) => {
            let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { *upper };
            (*least, f64::midpoint(lower, *upper), *most)
        }
        _ => (f64::NAN, f64::NAN, f64::NAN),
    }
}

/// The first row is the heading; numbers are aligned to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|n| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.len()).max().unwrap_or(0).max(4))
        .collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if column < 2 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if n == 0 {
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width - 1);
                let _ = if column < 2 { write!(text, "| {rule}- ") } else { write!(text, "| {rule}: ") };
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(scale: f64) -> Sample {
        Sample {
            throughput: 1000.0 * scale,
            p50_ms: scale,
            p99_ms: scale,
            cpu_us: 8.0 * scale,
            rss_mib: 100.0,
        }
    }

    #[test]
    fn the_spread_is_least_median_most() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 8.0]), (1.0, 3.0, 8.0));
        assert_eq!(spread(vec![5.0]), (5.0, 5.0, 5.0));
        assert!(spread(Vec::new()).1.is_nan());
    }

    #[test]
    fn the_ratio_is_taken_per_round() {
        let pair = |apache, palisade| Pair { apache: sample(apache), palisade: sample(palisade) };
        // The machine was half as fast in the last round; the ratio does not see it.
        let pairs = vec![pair(2.0, 4.0), pair(2.0, 6.0), pair(1.0, 1.5)];
        let table = render(&[("get", pairs)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "| load | side     |             op/s |           p50 ms |           p99 ms |        CPU us/op |          RSS MiB |",
                "| ---- | -------- | ---------------: | ---------------: | ---------------: | ---------------: | ---------------: |",
                "| get  | Apache   |             2000 |             2.00 |             2.00 |             16.0 |              100 |",
                "|      | Palisade |             4000 |             4.00 |             4.00 |             32.0 |              100 |",
                "|      | ratio    | 2.00 (1.50-3.00) | 2.00 (1.50-3.00) | 2.00 (1.50-3.00) | 2.00 (1.50-3.00) | 1.00 (1.00-1.00) |",
            ]
        );
    }
}
