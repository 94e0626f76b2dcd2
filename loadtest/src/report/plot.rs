//! Plots as SVG: no script, no font and nothing else that would have to be fetched.

use std::fmt::Write as _;

use crate::outcome::{Latency, Outcome};
use crate::report::html::escape;
use crate::report::table::number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
/// Room for the axes: left, right, top, bottom.
const MARGIN: [f64; 4] = [64.0, 32.0, 48.0, 44.0];
/// Where the title stands, and where the upright axis and the curves are named.
const TITLE_AT: f64 = 16.0;
const NAMES_AT: f64 = 36.0;
/// Ticks of an axis, about.
const TICKS: f64 = 6.0;
/// Most nines of a quantile that are drawn: 99.999 %.
const NINES: f64 = 5.0;
/// Points of a distribution for each nine.
const STEPS: usize = 20;

/// Whose curve it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Apache's.
    Apache,
    /// Palisade's.
    Palisade,
    /// The echo server's.
    Floor,
    /// One of several of the same run.
    Number(usize),
}

impl Colour {
    /// Legible on light and dark, and different for those who do not tell red from green.
    const fn hex(self) -> &'static str {
        const SEVERAL: [&str; 6] = ["#0077bb", "#ee7733", "#009988", "#cc3311", "#aa4499", "#777777"];
        match self {
            Self::Apache => "#ee7733",
            Self::Palisade => "#0077bb",
            Self::Floor => "#888888",
            Self::Number(n) => SEVERAL[n % SEVERAL.len()],
        }
    }
}

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// From 0, evenly.
    Even,
    /// By powers of ten.
    Powers,
    /// By the nines of a quantile: 0 is 0 %, 1 is 90 %, 2 is 99 %.
    Nines,
}

#[derive(Clone, Debug)]
struct Curve {
    name: String,
    colour: Colour,
    points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    title: String,
    axes: [(String, Run); 2],
    curves: Vec<Curve>,
}

impl Plot {
    /// All plots of some results of one scenario: first the distributions of latency, then the curves.
    pub(crate) fn of(results: &[(&str, Colour, &Outcome)]) -> Vec<Self> {
        let mut plots: Vec<Self> = Vec::new();
        // Of several results, a curve is called after the result that it is of.
        let several = results.len() > 1;
        for (name, colour, outcome) in results {
            let label = |what: &str| if several { *name } else { what }.to_owned();
            for (n, (what, latency)) in
                outcome.latencies.iter().enumerate().filter(|(_, (_, l))| l.count() > 0)
            {
                let axes = [("quantile", Run::Nines), ("milliseconds", Run::Powers)];
                let colour = if several { *colour } else { Colour::Number(n) };
                let title = if several { format!("latency: {what}") } else { "latency".to_owned() };
                let curve = Curve { name: label(what), colour, points: quantiles(latency) };
                add(&mut plots, &title, axes, curve);
            }
        }
        for (name, colour, outcome) in results {
            let label = |what: &str| if several { *name } else { what }.to_owned();
            for (n, series) in outcome.series.iter().enumerate() {
                let axes = series.axes.map(|axis| (axis, Run::Even));
                let colour = if several { *colour } else { Colour::Number(n) };
                let curve = Curve { name: label(&series.name), colour, points: series.points.clone() };
                add(&mut plots, series.plot, axes, curve);
            }
        }
        plots
    }

    /// The plot as an element that stands alone, and in a page as well.
    pub(crate) fn svg(&self) -> String {
        let [x, y] = [0, 1].map(|n| Scale::new(self.axes[n].1, n == 0, self.values(n)));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"sans-serif\" font-size=\"11\" fill=\"#777\">\n<title>{0}</title>\n\
             <text x=\"{1}\" y=\"{TITLE_AT}\" font-size=\"13\" font-weight=\"bold\">{0}</text>\n",
            escape(&self.title),
            MARGIN[0]
        );
        self.axis(&mut svg, &x, &y);
        self.legend(&mut svg);
        for curve in &self.curves {
            let colour = curve.colour.hex();
            let points: String = curve
                .points
                .iter()
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .map(|point| format!("{:.1},{:.1} ", x.at(point.0), y.at(point.1)))
                .collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
                points.trim_end()
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The curves' names, above all curves. Those of one side have one colour and one name.
    fn legend(&self, svg: &mut String) {
        let _ = write!(svg, "<text x=\"{}\" y=\"{NAMES_AT}\" text-anchor=\"end\">", WIDTH - MARGIN[1]);
        for (n, curve) in self.curves.iter().enumerate() {
            let earlier = self.curves.get(..n).unwrap_or_default();
            if earlier.iter().all(|earlier| earlier.colour != curve.colour) {
                let (apart, colour) = (if n == 0 { 0 } else { 12 }, curve.colour.hex());
                let _ =
                    write!(svg, "<tspan dx=\"{apart}\" fill=\"{colour}\">{}</tspan>", escape(&curve.name));
            }
        }
        svg.push_str("</text>\n");
    }

    fn values(&self, axis: usize) -> impl Iterator<Item = f64> + '_ {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        points.map(move |point| if axis == 0 { point.0 } else { point.1 }).filter(|value| value.is_finite())
    }

    /// Grid, numbers and names.
    fn axis(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - MARGIN[1], HEIGHT - MARGIN[3]);
        let mut line = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        for tick in x.ticks() {
            let at = x.at(tick);
            line(format!(
                "<path d=\"M{at:.1} {} V{bottom}\" stroke=\"#8884\"/><text x=\"{at:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{}</text>",
                MARGIN[2],
                bottom + 14.0,
                x.label(tick)
            ));
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            line(format!(
                "<path d=\"M{} {at:.1} H{right}\" stroke=\"#8884\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                MARGIN[0],
                MARGIN[0] - 6.0,
                at + 4.0,
                y.label(tick)
            ));
        }
        let [(x_name, _), (y_name, _)] = &self.axes;
        line(format!(
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            HEIGHT - 10.0,
            escape(x_name)
        ));
        line(format!("<text x=\"{}\" y=\"{NAMES_AT}\">{}</text>", MARGIN[0], escape(y_name)));
    }
}

fn add(plots: &mut Vec<Plot>, title: &str, axes: [(&str, Run); 2], curve: Curve) {
    if let Some(plot) = plots.iter_mut().find(|plot| plot.title == title) {
        plot.curves.push(curve);
        return;
    }
    let axes = axes.map(|(name, run)| (name.to_owned(), run));
    plots.push(Plot { title: title.to_owned(), axes, curves: vec![curve] });
}

/// The distribution as far as there are values enough to tell.
fn quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    let most = (latency.count() as f64).log10().min(NINES);
    let nines = (0..).map(|n| n as f64 / STEPS as f64).take_while(|nines| *nines <= most);
    nines.map(|nines| (nines, latency.quantile_ms(1.0 - 10_f64.powf(-nines)))).collect()
}

/// From values to places.
#[derive(Clone, Copy, Debug)]
struct Scale {
    run: Run,
    horizontal: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(run: Run, horizontal: bool, values: impl Iterator<Item = f64>) -> Self {
        let positive = |value: &f64| run != Run::Powers || *value > 0.0;
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(positive) {
            (least, most) = (least.min(value), most.max(value));
        }
        if !least.is_finite() {
            (least, most) = (1.0, 10.0);
        }
        let (from, to) = match run {
            Run::Even => (0.0, if most > 0.0 { most * 1.05 } else { 1.0 }),
            Run::Nines => (0.0, most.max(1.0)),
            Run::Powers => {
                let (from, to) = (least.log10().floor(), most.log10().ceil());
                (from, to.max(from + 1.0))
            }
        };
        Self { run, horizontal, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.run == Run::Powers { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        let [left, right, top, bottom] = MARGIN;
        if self.horizontal {
            left + part * (WIDTH - left - right)
        } else {
            HEIGHT - bottom - part * (HEIGHT - top - bottom)
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.run {
            Run::Even => {
                let rough = self.to / TICKS;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                (0..=TICKS as usize + 1)
                    .map(|n| n as f64 * step)
                    .take_while(|tick| *tick <= self.to)
                    .collect()
            }
            Run::Nines => (0..=self.to as i32).map(f64::from).collect(),
            Run::Powers => (self.from as i32..=self.to as i32).map(|n| 10_f64.powi(n)).collect(),
        }
    }

    fn label(&self, tick: f64) -> String {
        if self.run == Run::Nines {
            let decimals = (tick - 2.0).max(0.0) as usize;
            return format!("{:.decimals$} %", 100.0 - 100.0 * 10_f64.powf(-tick));
        }
        let text = number(tick);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::Series;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new("get");
        let mut latency = Latency::new();
        (1..=1000).for_each(|n| latency.record(Duration::from_micros(n)));
        outcome.latencies.push(("get".into(), latency));
        let (plot, axes) = ("throughput <over> time", ["seconds", "op/s"]);
        outcome.series.push(Series { plot, name: "get".into(), axes, points: vec![(0.0, 1.0), (1.0, 3.0)] });
        outcome
    }

    #[test]
    fn a_plot_stands_alone_and_escapes_its_text() {
        let outcome = outcome();
        let plots =
            Plot::of(&[("Apache", Colour::Apache, &outcome), ("Palisade", Colour::Palisade, &outcome)]);
        assert_eq!(plots.len(), 2);
        let svg = plots[1].svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("throughput &lt;over&gt; time") && !svg.contains("href"));
        assert_eq!(svg.matches("<polyline").count(), 2);
    }

    #[test]
    fn a_distribution_goes_as_far_as_there_are_values() {
        let points = quantiles(&outcome().latencies[0].1);
        assert_eq!(points.last().map(|point| point.0), Some(3.0));
        let median = points.iter().find(|point| point.0 >= 0.3).unwrap();
        assert!((0.45..=0.55).contains(&median.1), "{median:?}");
        assert!(quantiles(&Latency::new()).is_empty());
    }

    #[test]
    fn ticks_are_round() {
        let scale = |run, most: f64| Scale::new(run, true, [most].into_iter());
        assert_eq!(scale(Run::Even, 9.0).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(scale(Run::Nines, 3.0).ticks().map_labels(), ["0 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(scale(Run::Powers, 50.0).ticks().map_labels(), ["10", "100"]);
        // No values at all.
        assert!(!Scale::new(Run::Powers, false, std::iter::empty()).ticks().is_empty());
    }

    trait Labels {
        fn map_labels(self) -> Vec<String>;
    }

    impl Labels for Vec<f64> {
        fn map_labels(self) -> Vec<String> {
            let run = if self.first() == Some(&0.0) { Run::Nines } else { Run::Powers };
            let scale = Scale { run, horizontal: true, from: 0.0, to: 1.0 };
            self.into_iter().map(|tick| scale.label(tick)).collect()
        }
    }
}
