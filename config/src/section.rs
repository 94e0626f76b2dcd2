//! Reads a TOML file table by table, noting every mistake instead of stopping at the first.

use std::fmt::Debug;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::{Origin, Report};
use crate::suggest::nearest;
use crate::{address, duration};

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    root: Option<Spanned<DeTable<'a>>>,
    report: &'a Report,
}

impl<'a> Document<'a> {
    /// Parses `text`. What is not TOML is reported and leaves an empty document.
    pub(crate) fn parse(text: &'a str, report: &'a Report) -> Self {
        let root = match DeTable::parse(text) {
            Ok(root) => Some(root),
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                report.mistake(report.origin(line), "TOML", None, error.message());
                None
            }
        };
        Self { text, root, report }
    }

    /// The keys that stand before the first section.
    pub(crate) fn root(&self) -> Section<'_> {
        let table = self.root.as_ref().map(|root| root.get_ref());
        Section { name: "", text: self.text, table, report: self.report, asked: Vec::new() }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// One table of the file, present or not.
///
/// Each getter reads one key and reports what is wrong with it; [`Section::finish`] then reports the keys that
/// nobody asked for.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    name: &'static str,
    text: &'a str,
    table: Option<&'a DeTable<'a>>,
    report: &'a Report,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The sub-table `[name]`.
    pub(crate) fn section(&mut self, name: &'static str) -> Self {
        let table = self.take(name).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(name, value, format!("must be a section: write [{name}] on a line of its own"));
                None
            }
        });
        Section { name, text: self.text, table, report: self.report, asked: Vec::new() }
    }

    /// Where `key` stands, or the file if it is not given.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let line =
            self.table.and_then(|table| table.get(key)).map(|value| line_of(self.text, value.span().start));
        self.report.origin(line)
    }

    /// `[section] key`.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("[{}] {key}", self.name) }
    }

    /// Whether the file gives `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports that a mandatory key is missing; `why` says what to give.
    pub(crate) fn missing(&self, key: &str, why: &str) {
        self.report.mistake(self.report.origin(None), self.path_of(key), None, format!("is missing; {why}"));
    }

    /// A whole number, `default` if it is not given.
    pub(crate) fn integer<T>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Debug + Copy,
    {
        self.opt_integer(key, range).unwrap_or(default)
    }

    /// A whole number, `None` if it is not given or wrong.
    pub(crate) fn opt_integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Debug + Copy,
    {
        let value = self.take(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            self.wrong(key, value, format!("must be a whole number from {low:?} to {high:?}"));
        }
        number
    }

    /// A duration, `default` if it is not given.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.opt_duration(key, range).unwrap_or(default)
    }

    /// A duration, `None` if it is not given or wrong.
    pub(crate) fn opt_duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.take(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(n) if n.radix() == 10 => duration::parse(n.as_str()),
            _ => None,
        };
        let parsed = parsed.filter(|d| range.contains(d));
        if parsed.is_none() {
            let (low, high) = (duration::show(*range.start()), duration::show(*range.end()));
            self.wrong(key, value, format!("must be {}, from {low} to {high}", duration::FORM));
        }
        parsed
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else { return default };
        match value.get_ref() {
            DeValue::Boolean(b) => *b,
            _ => {
                self.wrong(key, value, "must be true or false");
                default
            }
        }
    }

    /// Text that is not empty.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(text),
            _ => {
                self.wrong(key, value, "must be text in quotes that is not empty");
                None
            }
        }
    }

    /// A path of the file system; relative ones start at the working directory.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.string(key).map(|text| Path::new(text).to_owned())
    }

    /// `host:port` to listen on.
    pub(crate) fn listen_address(&mut self, key: &'static str) -> Option<String> {
        let text = self.string(key)?;
        if address::is_host_port(text, true) {
            return Some(text.to_owned());
        }
        self.reject(key, format!("must be {}", address::FORM));
        None
    }

    /// A list of texts, each with its line.
    pub(crate) fn strings(&mut self, key: &'static str) -> Vec<(&'a str, Origin)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "must be a list of texts, such as [\"a\", \"b\"]");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push((text.as_ref(), self.report.origin(Some(self.line(&item.span())))));
                }
                _ => self.wrong(key, item, "must be text in quotes"),
            }
        }
        texts
    }

    /// Reports a value that was read well but is not allowed.
    pub(crate) fn reject(&self, key: &str, problem: impl Into<String>) {
        match self.table.and_then(|table| table.get(key)) {
            Some(value) => self.wrong(key, value, problem),
            None => self.report.mistake(self.report.origin(None), self.path_of(key), None, problem),
        }
    }

    /// Reports every key that was never asked for.
    pub(crate) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let hint = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("unknown key; did you mean \"{known}\"?"),
                None => format!("unknown key; known here: {}", self.asked.join(", ")),
            };
            let line = self.line(&key.span());
            let given = (!value.get_ref().is_table()).then(|| self.shown(value));
            self.report.mistake(self.report.origin(Some(line)), self.path_of(name), given, hint);
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    fn line(&self, span: &Range<usize>) -> usize {
        line_of(self.text, span.start)
    }

    /// The value as it stands in the file.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> String {
        self.text.get(value.span()).unwrap_or_default().to_owned()
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, problem: impl Into<String>) {
        let line = self.line(&value.span());
        self.report.mistake(
            self.report.origin(Some(line)),
            self.path_of(key),
            Some(self.shown(value)),
            problem,
        );
    }
}
