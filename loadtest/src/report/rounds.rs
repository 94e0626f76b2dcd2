//! Several rounds of the same measurement, for each of several variants, side by side.

use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::outcome::median;
use crate::report::table::number;

/// A figure of a round.
pub(crate) type Figure<R> = (&'static str, fn(&R) -> f64);
/// A figure of all rounds together: those of many are steadier than the median of each one's.
pub(crate) type Sum<R> = (&'static str, fn(&[R]) -> f64);
/// What all rounds say in words.
pub(crate) type Note<R> = (&'static str, fn(&[R]) -> String);

/// What is told of rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds<R: 'static> {
    pub(crate) figures: &'static [Figure<R>],
    pub(crate) sums: &'static [Sum<R>],
    pub(crate) notes: &'static [Note<R>],
}

/// All rounds of one variant.
#[derive(Debug)]
pub(crate) struct Row<R> {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<R>,
}

impl<R> Rounds<R> {
    /// A column for each variant: medians of the figures, and within what they lie if they differ.
    pub(crate) fn table(&self, rows: &[Row<R>]) -> String {
        let line = |first: &str, cell: &dyn Fn(&Row<R>) -> String| {
            let cells: Vec<_> = std::iter::once(first.to_owned()).chain(rows.iter().map(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = line("", &|row| row.name.to_owned());
        text += &line("---", &|_| "---".to_owned());
        for (name, figure) in self.figures {
            text += &line(name, &|row| spread(row.rounds.iter().map(figure).collect()));
        }
        for (name, sum) in self.sums {
            text += &line(name, &|row| number(sum(&row.rounds)));
        }
        for (name, note) in self.notes {
            text += &line(name, &|row| note(&row.rounds));
        }
        text
    }

    /// Writes an object for each variant: of each figure all values, in the order of the rounds.
    pub(crate) fn write_json(&self, rows: &[Row<R>], file: &Path) -> Result<(), Failure> {
        let variants: Map<_, _> =
            rows.iter().map(|row| (row.name.to_owned(), self.json(&row.rounds))).collect();
        let text = format!("{:#}\n", Value::Object(variants));
        std::fs::write(file, text).map_err(|error| Failure::During(format!("{}: {error}", file.display())))
    }

    fn json(&self, rounds: &[R]) -> Value {
        let all = |figure: &fn(&R) -> f64| rounds.iter().map(figure).collect::<Vec<_>>().into();
        let figures = self.figures.iter().map(|(name, figure)| (*name, all(figure)));
        let sums = self.sums.iter().map(|(name, sum)| (*name, Value::from(sum(rounds))));
        let notes = self.notes.iter().map(|(name, note)| (*name, Value::from(note(rounds))));
        figures
            .chain(sums)
            .chain(notes)
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>()
            .into()
    }
}

fn spread(values: Vec<f64>) -> String {
    let (least, most) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(*value), most.max(*value))
    });
    let middle = number(median(values));
    if least == most { middle } else { format!("{middle} ({}–{})", number(least), number(most)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Rounds<f64> = Rounds {
        figures: &[("itself", |number| *number), ("one", |_| 1.0)],
        sums: &[("sum", |numbers| numbers.iter().sum())],
        notes: &[("count", |numbers| format!("{} of them", numbers.len()))],
    };

    #[test]
    fn variants_stand_side_by_side() {
        let rows = [Row { name: "a", rounds: vec![1.5, 4.5, 3.5] }, Row { name: "b", rounds: vec![2.25] }];
        let expected = "|  | a | b |\n| --- | --- | --- |\n| itself | 3.50 (1.50–4.50) | 2.25 |\n| one | 1.00 | 1.00 |\n\
                        | sum | 9.50 | 2.25 |\n| count | 3 of them | 1 of them |\n";
        assert_eq!(NUMBERS.table(&rows), expected);
        let expected = serde_json::json!({"itself": [1.5, 4.5, 3.5], "one": [1.0, 1.0, 1.0], "sum": 9.5, "count": "3 of them"});
        assert_eq!(NUMBERS.json(&rows[0].rounds), expected);
    }
}
