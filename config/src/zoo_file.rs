//! The settings of one `zoo.cfg` or dynamic file, read key by key as Apache reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::ensemble::Line;
use crate::mistake::Origin;
use crate::properties::{self, Property};
use crate::report::{Place, Report};
use crate::zoo_cfg::field_of;
use crate::zoo_keys::{Fate, fate};

/// One file. Getters note what was asked for and report what is not of its type.
#[derive(Debug)]
pub(crate) struct ZooFile<'a> {
    properties: BTreeMap<String, Property>,
    other: Option<&'a Path>,
    report: &'a Report,
    asked: BTreeSet<&'static str>,
}

impl<'a> ZooFile<'a> {
    /// The file that `report` is about. `None` if it is not in Java's properties syntax, which is reported.
    pub(crate) fn parse(bytes: &[u8], report: &'a Report) -> Option<Self> {
        Self::read(bytes, None, report)
    }

    /// Another file, whose mistakes go to the same report.
    pub(crate) fn parse_other(bytes: &[u8], path: &'a Path, report: &'a Report) -> Option<Self> {
        Self::read(bytes, Some(path), report)
    }

    fn read(bytes: &[u8], other: Option<&'a Path>, report: &'a Report) -> Option<Self> {
        let mut file = Self { properties: BTreeMap::new(), other, report, asked: BTreeSet::new() };
        let all = match properties::parse(bytes) {
            Ok(all) => all,
            Err(bad) => {
                let place = Place { origin: file.origin(Some(bad.line)), key: "\\u".into(), given: None };
                report.mistake(place, "must be followed by four hexadecimal digits of a character");
                return None;
            }
        };
        for property in all {
            // The last one wins, as in Java.
            if let Some(earlier) = file.properties.insert(property.key.clone(), property) {
                report.warning(file.place(&earlier), "is given again further down; the last one counts");
            }
        }
        Some(file)
    }

    pub(crate) const fn report(&self) -> &'a Report {
        self.report
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.properties.contains_key(key)
    }

    /// Reports that a mandatory key is not given; `give` says what to do about it.
    pub(crate) fn missing(&self, key: &str, give: &str) {
        let place = Place { origin: self.origin(None), key: key.to_owned(), given: None };
        self.report.mistake_in(field_of(key), place, format!("is missing; {give}"));
    }

    /// Reports the value of `key`.
    pub(crate) fn reject(&self, key: &str, problem: impl Into<String>) {
        if let Some(property) = self.properties.get(key) {
            self.report.mistake_in(field_of(key), self.place(property), problem);
        }
    }

    /// The value as it stands.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.asked.insert(key);
        let property = self.properties.get(key)?;
        self.report.place(field_of(key), self.place(property));
        Some(property.value.clone())
    }

    /// A whole number; `unit` is for the message.
    pub(crate) fn number<T: FromStr>(&mut self, key: &'static str, unit: &str) -> Option<T> {
        let text = self.text(key)?;
        let number = text.parse().ok();
        if number.is_none() {
            let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
            self.reject(key, format!("must be a whole number{of} that is not too large"));
        }
        number
    }

    /// A whole number of milliseconds.
    pub(crate) fn millis(&mut self, key: &'static str) -> Option<Duration> {
        self.number(key, "milliseconds").map(Duration::from_millis)
    }

    /// Milliseconds, where −1 stands for the default.
    pub(crate) fn session_timeout(&mut self, key: &'static str) -> Option<Duration> {
        let millis: i64 = self.number(key, "milliseconds")?;
        if millis < -1 {
            self.reject(key, "must be a whole number of milliseconds, or -1 for Apache's default");
        }
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    /// `true` or `false`, in any case.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let text = self.text(key)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.reject(key, "must be true or false");
                None
            }
        }
    }

    /// `value`, or `least` with a warning if that is more: Apache raises such values too.
    pub(crate) fn at_least<T: Ord + Copy + std::fmt::Display>(&self, key: &str, value: T, least: T) -> T {
        if value < least
            && let Some(property) = self.properties.get(key)
        {
            self.report.warning(self.place(property), format!("is raised to {least}, as Apache does"));
        }
        value.max(least)
    }

    /// `autopurge.purgeInterval`: hours, or a number with `d`, `h`, `m`, `s` or `ms`; 0 and less is never.
    pub(crate) fn purge_interval(&mut self) -> Option<Duration> {
        const KEY: &str = "autopurge.purgeInterval";
        const UNITS: [(&str, u64); 5] =
            [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let text = self.text(KEY)?;
        let unit = UNITS.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)));
        let (number, millis) = unit.unwrap_or((&text, 3_600_000));
        match number.trim().parse::<i64>() {
            Ok(count) if count <= 0 => None,
            Ok(count) => Some(Duration::from_millis(count.unsigned_abs().saturating_mul(millis))),
            Err(_) => {
                self.reject(KEY, "must be a whole number of hours, or one with the unit d, h, m, s or ms");
                None
            }
        }
    }

    /// The `server.N`, `group.N` and `weight.N` settings.
    pub(crate) fn member_lines(&self) -> Vec<Line> {
        let mut lines: Vec<_> = self.properties.values().filter(|p| is_member_key(&p.key)).collect();
        lines.sort_by_key(|p| p.line);
        let line = |p: &Property| Line {
            key: p.key.clone(),
            value: p.value.clone(),
            origin: self.origin(Some(p.line)),
        };
        lines.into_iter().map(line).collect()
    }

    /// Says what becomes of each key that was not asked for.
    pub(crate) fn finish(self) {
        for (key, property) in &self.properties {
            if self.asked.contains(key.as_str()) || is_member_key(key) {
                continue;
            }
            match fate(key, &property.value) {
                Fate::Nothing => {}
                Fate::Warn(why) => self.report.warning(self.place(property), why),
                Fate::Refuse(why) => self.report.mistake(self.place(property), why),
            }
        }
    }

    /// The same for a dynamic file, which may hold nothing but members.
    pub(crate) fn finish_members(&self) {
        for property in self.properties.values().filter(|p| !is_member_key(&p.key)) {
            let problem = "may not stand in a dynamic file; only server.N, group.N and weight.N may";
            self.report.mistake(self.place(property), problem);
        }
    }

    fn origin(&self, line: Option<usize>) -> Origin {
        match self.other {
            Some(path) => Origin::File { path: path.to_owned(), line },
            None => self.report.origin(line),
        }
    }

    fn place(&self, property: &Property) -> Place {
        Place {
            origin: self.origin(Some(property.line)),
            key: property.key.clone(),
            given: Some(property.value.clone()),
        }
    }
}

fn is_member_key(key: &str) -> bool {
    ["server.", "group.", "weight."].iter().any(|prefix| key.starts_with(prefix))
}
