//! Reads a TOML file table by table, noting every mistake instead of stopping at the first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::Origin;
use crate::report::{Place, Report};
use crate::suggest::nearest;
use crate::{duration, size};

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    root: Option<Spanned<DeTable<'a>>>,
    report: &'a Report,
}

impl<'a> Document<'a> {
    /// Parses `text`. What is not TOML is reported; `None` then.
    pub(crate) fn parse(text: &'a str, report: &'a Report) -> Option<Self> {
        match DeTable::parse(text) {
            Ok(root) => Some(Self { text, root: Some(root), report }),
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                let place = Place { origin: report.origin(line), key: "TOML".into(), given: None };
                report.mistake(place, error.message());
                None
            }
        }
    }

    /// The keys that stand before the first section.
    pub(crate) fn root(&self) -> Section<'_> {
        let table = self.root.as_ref().map(|root| root.get_ref());
        Section { name: String::new(), text: self.text, table, report: self.report, asked: Vec::new() }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// How the operator knows the field `section.key`.
pub(crate) fn key_of(field: &str) -> String {
    match field.rsplit_once('.') {
        Some((section, key)) => format!("[{section}] {key}"),
        None => field.to_owned(),
    }
}

/// One table of the file, present or not.
///
/// Each getter reads one key, remembers where it stands, and reports a value of the wrong type; whether a value
/// is within its range is for the tier's own checks. [`Section::finish`] reports the keys that nobody asked for.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// With the names of those around it, `outer.inner`; empty for the whole file.
    name: String,
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
                let header = self.field(name);
                self.wrong(name, value, &format!("a section; write [{header}] on a line of its own"));
                None
            }
        });
        Section { name: self.field(name), text: self.text, table, report: self.report, asked: Vec::new() }
    }

    /// Whether `key` is given.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.asked.push(key);
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports that a mandatory key is not given; `give` says what to do about it.
    pub(crate) fn require(&self, key: &str, give: &str) {
        let field = self.field(key);
        if self.report.has_place(&field) || self.table.is_some_and(|table| table.contains_key(key)) {
            return;
        }
        let place = Place { origin: self.report.origin(None), key: key_of(&field), given: None };
        self.report.mistake_in(field, place, format!("is missing; {give}"));
    }

    /// Sets `target` to the whole number `key`, if it is given.
    pub(crate) fn integer<T: FromStr>(&mut self, key: &'static str, target: &mut T) {
        self.read(key, target, "a whole number that is not too large", |value| match value {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().parse().ok(),
            _ => None,
        });
    }

    /// Sets `target` to the size `key` in bytes, if it is given.
    pub(crate) fn size<T: TryFrom<u64>>(&mut self, key: &'static str, target: &mut T) {
        self.read(key, target, size::FORM, |value| T::try_from(size::parse(scalar(value)?)?).ok());
    }

    /// Sets `target` to the duration `key`, if it is given.
    pub(crate) fn duration(&mut self, key: &'static str, target: &mut Duration) {
        self.read(key, target, duration::FORM, |value| duration::parse(scalar(value)?));
    }

    /// The same for what has no default.
    pub(crate) fn opt_duration(&mut self, key: &'static str, target: &mut Option<Duration>) {
        self.read(key, target, duration::FORM, |value| duration::parse(scalar(value)?).map(Some));
    }

    /// Sets `target` to `true` or `false`, if it is given.
    pub(crate) fn boolean(&mut self, key: &'static str, target: &mut bool) {
        self.read(key, target, "true or false", |value| match value {
            DeValue::Boolean(b) => Some(*b),
            _ => None,
        });
    }

    /// Sets `target` to what `key` names, if it is given.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, names: &[(&'static str, T)], target: &mut T) {
        let known = names.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        self.read(key, target, &format!("one of {known}"), |value| {
            let given = text(value)?;
            names.iter().find(|(name, _)| *name == given).map(|(_, choice)| *choice)
        });
    }

    /// Sets `target` to the text `key`, if it is given.
    pub(crate) fn string(&mut self, key: &'static str, target: &mut String) {
        self.read(key, target, "text in quotes", |value| text(value).map(str::to_owned));
    }

    /// The same for what has no default.
    pub(crate) fn opt_string(&mut self, key: &'static str, target: &mut Option<String>) {
        self.read(key, target, "text in quotes", |value| text(value).map(|t| Some(t.to_owned())));
    }

    /// The same for what must not be repeated in a message.
    pub(crate) fn secret(&mut self, key: &'static str, target: &mut Option<String>) {
        self.asked.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else { return };
        let hidden = Place { given: None, ..self.place(key, value) };
        match text(value.get_ref()) {
            Some(text) => *target = Some(text.to_owned()),
            None => self.report.mistake_in(self.field(key), hidden.clone(), "must be text in quotes"),
        }
        self.report.place(self.field(key), hidden);
    }

    /// Sets `target` to the path `key`, if it is given. Relative ones start at the working directory.
    pub(crate) fn path(&mut self, key: &'static str, target: &mut PathBuf) {
        self.read(key, target, "a path in quotes", |value| text(value).map(|t| Path::new(t).to_owned()));
    }

    /// The same for what has no default.
    pub(crate) fn opt_path(&mut self, key: &'static str, target: &mut Option<PathBuf>) {
        self.read(key, target, "a path in quotes", |value| {
            text(value).map(|t| Some(Path::new(t).to_owned()))
        });
    }

    /// A list of texts, each with where it stands.
    pub(crate) fn strings(&mut self, key: &'static str) -> Vec<(&'a str, Origin)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of texts, such as [\"a\", \"b\"]");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match text(item.get_ref()) {
                Some(text) => texts.push((text, self.origin(item.span().start))),
                None => self.wrong(key, item, "text in quotes"),
            }
        }
        texts
    }

    /// Adds the pairs of whole numbers of the table `key` to `target`.
    pub(crate) fn numbered<K: FromStr + Ord, V: FromStr>(
        &mut self,
        key: &'static str,
        example: &str,
        target: &mut BTreeMap<K, V>,
    ) {
        let Some(value) = self.take(key) else { return };
        let numbers = match value.get_ref() {
            DeValue::Table(table) => table
                .iter()
                .map(|(key, value)| {
                    Some((key.get_ref().parse().ok()?, scalar(value.get_ref())?.parse().ok()?))
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match numbers {
            Some(numbers) => target.extend(numbers),
            None => self.wrong(key, value, &format!("pairs of whole numbers, such as {example}")),
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
            let problem = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("unknown key; did you mean \"{known}\"?"),
                None => format!("unknown key; known here: {}", self.asked.join(", ")),
            };
            let given = if value.get_ref().is_table() { None } else { self.shown(value) };
            let place =
                Place { origin: self.origin(key.span().start), key: key_of(&self.field(name)), given };
            self.report.mistake(place, problem);
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        form: &str,
        convert: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) {
        let Some(value) = self.take(key) else { return };
        match convert(value.get_ref()) {
            Some(converted) => *target = converted,
            None => self.wrong(key, value, form),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        let value = self.table?.get(key)?;
        self.report.place(self.field(key), self.place(key, value));
        Some(value)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, form: &str) {
        self.report.mistake_in(self.field(key), self.place(key, value), format!("must be {form}"));
    }

    /// The field that `key` sets.
    pub(crate) fn field(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn place(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Place {
        let (field, given) = (self.field(key), self.shown(value));
        let is_header = value.get_ref().is_table() && given.is_none();
        let key = if is_header { format!("[{field}]") } else { key_of(&field) };
        Place { origin: self.origin(value.span().start), key, given }
    }

    fn origin(&self, offset: usize) -> Origin {
        self.report.origin(Some(line_of(self.text, offset)))
    }

    /// The value as it stands in the file, unless it covers several lines, or is a section of lines of its own: what
    /// stands for that is its name.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let is_header = |text: &str| value.get_ref().is_table() && !text.starts_with('{');
        self.text.get(value.span()).filter(|text| !text.contains('\n') && !is_header(text)).map(str::to_owned)
    }
}

fn text<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// The digits of a decimal number, or text.
fn scalar<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    match value {
        DeValue::Integer(n) if n.radix() == 10 => Some(n.as_str()),
        _ => text(value),
    }
}
