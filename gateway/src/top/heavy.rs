//! Whom to list: the heaviest by each measure.

use std::hash::Hash;

use palisade_admin::json::Json;

use super::sketch::{Load, Sketch};

/// By what the heaviest are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Requests.
    #[default]
    Ops,
    /// Their bytes, and those of the answers.
    Bytes,
    /// Watches that stand.
    Watches,
    /// Requests that were refused because of a limit.
    Refusals,
}

impl Measure {
    /// By its name in a query.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ops" => Self::Ops,
            "bytes" => Self::Bytes,
            "watches" => Self::Watches,
            "refusals" => Self::Refusals,
            _ => return None,
        })
    }
}

/// The heaviest of one kind, by what they asked for: one list for each measure, so that whoever is heavy by one is not
/// forgotten for those who are by another.
#[derive(Debug)]
pub(super) struct Heavy<K> {
    ops: Sketch<K>,
    bytes: Sketch<K>,
    refusals: Sketch<K>,
}

impl<K> Default for Heavy<K> {
    fn default() -> Self {
        Self { ops: Sketch::default(), bytes: Sketch::default(), refusals: Sketch::default() }
    }
}

impl<K: Clone + Eq + Hash> Heavy<K> {
    pub(super) fn add(&mut self, key: &K, load: Load) {
        let Load { ops, bytes, refusals } = load;
        for (sketch, weight) in
            [(&mut self.ops, ops), (&mut self.bytes, bytes), (&mut self.refusals, refusals)]
        {
            if weight > 0 {
                sketch.add(key, weight, load);
            }
        }
    }

    /// One that is not known by one measure may be by another.
    fn load(&self, key: &K) -> Load {
        let known =
            [&self.ops, &self.bytes, &self.refusals].map(|sketch| sketch.load(key).unwrap_or_default());
        let most = |part: fn(&Load) -> u64| known.iter().map(part).max().unwrap_or_default();
        Load {
            ops: most(|load| load.ops),
            bytes: most(|load| load.bytes),
            refusals: most(|load| load.refusals),
        }
    }

    /// A table of the heaviest by `measure`, with what else is known of them.
    pub(super) fn table(
        &self,
        watches: &Sketch<K>,
        (measure, lines, seconds): (Measure, usize, f64),
        name: impl Fn(&K) -> String,
    ) -> Json {
        let sketch = match measure {
            Measure::Ops => &self.ops,
            Measure::Bytes => &self.bytes,
            Measure::Watches => watches,
            Measure::Refusals => &self.refusals,
        };
        let rate = |count: u64| Json::Float(if seconds > 0.0 { count as f64 / seconds } else { 0.0 });
        Json::list(sketch.heaviest(lines).iter().map(|key| {
            let load = self.load(key);
            Json::object([
                ("name", Json::Text(name(key))),
                ("ops_per_s", rate(load.ops)),
                ("bytes_per_s", rate(load.bytes)),
                ("watches", watches.weight(key).into()),
                ("refusals_per_s", rate(load.refusals)),
            ])
        }))
    }
}
