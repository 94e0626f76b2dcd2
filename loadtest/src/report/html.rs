//! Results as one HTML file that opens without a network.

use std::fmt::Write as _;

use palisade_wire::ErrorCode;
use serde_json::Value;

use crate::outcome::{Outcome, QUANTILES};
use crate::report::plot::{Colour, Plot};
use crate::report::table::number;

const STYLE: &str = "\
:root { color-scheme: light dark } \
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem } \
table { border-collapse: collapse; margin: 1rem 0 } \
th, td { border-bottom: 1px solid #8884; padding: .2rem .8rem .2rem 0; text-align: left; white-space: nowrap } \
td:first-child { white-space: normal } \
.plots { display: flex; flex-wrap: wrap; gap: 1rem } \
.plots svg { width: 34rem; max-width: 100% } \
.missed { color: #cc3311 } .met { color: #009988 }";

/// The result of one scenario.
pub(crate) fn scenario(outcome: &Outcome) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(outcome.scenario));
    let settings = outcome.settings.iter().map(|(name, value)| {
        let value = match value {
            Value::String(value) => value.clone(),
            value => value.to_string(),
        };
        vec![(*name).to_owned(), value]
    });
    table(&mut body, &["setting", "value"], settings);
    let metrics = outcome
        .metrics
        .iter()
        .map(|metric| vec![metric.name.clone(), format!("{} {}", number(metric.value), metric.unit)]);
    let errors = outcome
        .errors
        .iter()
        .map(|(code, count)| vec![format!("error: {}", ErrorCode(*code)), count.to_string()]);
    table(&mut body, &["figure", "value"], metrics.chain(errors));
    let mut heading = vec!["latency, ms"];
    heading.extend(QUANTILES.iter().map(|(name, _)| *name));
    let latencies = outcome.latencies.iter().map(|(name, latency)| {
        let quantiles = QUANTILES.iter().map(|(_, q)| format!("{:.3}", latency.quantile_ms(*q)));
        [name.clone()].into_iter().chain(quantiles).collect()
    });
    table(&mut body, &heading, latencies);
    plots(&mut body, &Plot::of(&[("", Colour::Number(0), outcome)]));
    page(outcome.scenario, &body)
}

/// The result of a comparison: its table, heading first, and the plots of each experiment.
pub(crate) fn comparison(cells: &[Vec<String>], sections: &[(String, Vec<Plot>)]) -> String {
    let mut body = "<h1>Apache ZooKeeper and Palisade</h1>\n".to_owned();
    if let Some((heading, rows)) = cells.split_first() {
        let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
        table(&mut body, &heading, rows.iter().cloned());
    }
    for (title, all) in sections.iter().filter(|(_, all)| !all.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(body, "<h2>{}</h2>", escape(title));
        plots(&mut body, all);
    }
    page("Apache ZooKeeper and Palisade", &body)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n{body}</html>\n",
        escape(title)
    )
}

fn table(body: &mut String, heading: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let heading: String = heading.iter().map(|cell| format!("<th>{}", escape(cell))).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<table>\n<tr>{heading}");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td{}>{}", class(cell), escape(cell))).collect();
        let _ = writeln!(body, "<tr>{cells}");
    }
    body.push_str("</table>\n");
}

/// The colour of a verdict.
fn class(cell: &str) -> &'static str {
    match cell {
        _ if cell.contains("missed") => " class=missed",
        _ if cell.starts_with("met") => " class=met",
        _ => "",
    }
}

fn plots(body: &mut String, plots: &[Plot]) {
    body.push_str("<div class=\"plots\">\n");
    plots.iter().for_each(|plot| body.push_str(&plot.svg()));
    body.push_str("</div>\n");
}

/// Text that means nothing but itself in HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Series};

    #[test]
    fn a_page_needs_nothing_from_outside() {
        let mut outcome = Outcome::new("fan-out");
        outcome.set("watchers", 5);
        outcome.metric("last told", 2.5, "ms");
        outcome.errors.insert(-101, 1);
        outcome.latencies.push(("told".into(), Latency::new()));
        let (plot, axes) = ("watchers told over time", ["milliseconds", "watchers"]);
        outcome.series.push(Series {
            plot,
            name: "change 1".into(),
            axes,
            points: vec![(0.0, 1.0), (2.0, 5.0)],
        });
        let page = scenario(&outcome);
        for part in ["<td>watchers<td>5", "2.50 ms", "NO_NODE", "<svg ", "change 1"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        for loader in ["http", "src=", "<script", "<link", "@import", "url("] {
            assert!(!outside.contains(loader), "{loader}: {page}");
        }
    }

    #[test]
    fn a_comparison_shows_what_was_missed() {
        let cells =
            vec![vec!["what".to_owned(), String::new()], vec!["a < b".to_owned(), "met; missed".to_owned()]];
        let page = comparison(&cells, &[("empty".into(), Vec::new())]);
        assert!(
            page.contains("<td>a &lt; b<td class=missed>met; missed") && !page.contains("<h2>"),
            "{page}"
        );
    }
}
