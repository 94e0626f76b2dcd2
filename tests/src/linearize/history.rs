//! The history that `tests/clients/recorder.py` writes, and all that can be demanded of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::register::{self, Action, NEVER};

/// One line of a history.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// The number of the client, each with a session of its own.
    pub client: u32,
    /// What was asked.
    pub operation: Asked,
    /// The znode's path.
    pub key: String,
    /// Begin and end, in nanoseconds of one monotonic clock.
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
    /// How it ended.
    pub result: Ended,
    /// The data written or read.
    pub value: Option<String>,
    /// The version demanded by a compare-and-set.
    pub expected: Option<i32>,
    /// The version in the answer's Stat.
    pub version: Option<i32>,
    /// The zxid of the last write in the answer's Stat.
    pub mzxid: Option<i64>,
    /// The path of a created or found sequential znode.
    pub created: Option<String>,
}

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// `setData` without a version.
    Write,
    /// `setData` with a version.
    CompareAndSet,
    /// `sync`, then `getData`.
    Read,
    /// `getData` alone.
    StaleRead,
    /// A sequential create below `key`.
    Create,
    /// A znode below `key` that was there in the end.
    Found,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Acknowledged.
    Ok,
    /// Refused because the version was another.
    BadVersion,
    /// Not answered: it may have happened, may still happen, or may never happen.
    Unknown,
}

/// A whole history.
#[derive(Clone, Debug)]
pub struct History {
    /// The records, in the order in which the operations ended.
    pub records: Vec<Record>,
}

impl History {
    /// Reads a history; a last line without an end is ignored, as the recorder may still be writing it.
    ///
    /// # Panics
    /// If the file is not a history.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("cannot read the history");
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the history: {line}"))
        };
        Self { records: complete.lines().map(parse).collect() }
    }

    /// The number of acknowledged writes and creates so far.
    pub fn acknowledged(&self) -> usize {
        let changes = [Asked::Write, Asked::CompareAndSet, Asked::Create];
        self.records
            .iter()
            .filter(|record| record.result == Ended::Ok && changes.contains(&record.operation))
            .count()
    }

    /// The number of operations that were not answered.
    pub fn unknown(&self) -> usize {
        self.records.iter().filter(|record| record.result == Ended::Unknown).count()
    }

    /// Checks everything: registers are linearizable, sessions never go back in time, each version has one value and
    /// one zxid, and what was created is there.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        for (key, operations) in self.registers() {
            register::check(operations)
                .map_err(|violation| format!("{key} is not linearizable: {violation}"))?;
        }
        self.check_sessions()?;
        self.check_versions()?;
        self.check_created()
    }

    fn registers(&self) -> BTreeMap<&str, Vec<register::Operation>> {
        let mut registers: BTreeMap<&str, Vec<register::Operation>> = BTreeMap::new();
        for record in &self.records {
            if let Some(action) = record.action() {
                let unknown = matches!(action, Action::MayHaveWritten { .. });
                let end = if unknown { NEVER } else { record.end };
                registers.entry(&record.key).or_default().push(register::Operation {
                    begin: record.begin,
                    end,
                    action,
                });
            }
        }
        registers
    }

    /// What a session sees never goes back: neither behind its own writes nor behind what it read.
    fn check_sessions(&self) -> Result<(), String> {
        let mut latest: HashMap<(u32, &str), i32> = HashMap::new();
        for record in &self.records {
            let Some(version) = record.version else { continue };
            let latest = latest.entry((record.client, &record.key)).or_default();
            if version < *latest {
                return Err(format!("client {} went back from version {latest}: {record:?}", record.client));
            }
            *latest = version;
        }
        Ok(())
    }

    /// All answers about one version of a znode agree, and later versions have later zxids.
    fn check_versions(&self) -> Result<(), String> {
        let mut versions: BTreeMap<(&str, i32), (i64, &str)> = BTreeMap::new();
        for record in &self.records {
            if let (Some(version), Some(mzxid), Some(value)) = (record.version, record.mzxid, &record.value) {
                let told = versions.entry((&record.key, version)).or_insert((mzxid, value));
                if *told != (mzxid, value.as_str()) {
                    return Err(format!("version {version} was {told:?} before: {record:?}"));
                }
            }
        }
        let mut before: Option<(&str, i64)> = None;
        for ((key, version), (mzxid, _)) in versions {
            if before.is_some_and(|(other, zxid)| other == key && zxid >= mzxid) {
                return Err(format!(
                    "version {version} of {key} has zxid {mzxid:#x}, not above that of the one before"
                ));
            }
            before = Some((key, mzxid));
        }
        Ok(())
    }

    /// What was created is found in the end, with its data; what is found was asked for, once.
    fn check_created(&self) -> Result<(), String> {
        let mut found: HashMap<&str, &Record> = HashMap::new();
        for record in self.records.iter().filter(|record| record.operation == Asked::Found) {
            let value = record.value.as_deref().unwrap_or_default();
            if let Some(other) = found.insert(value, record) {
                return Err(format!("one create made two znodes: {other:?} and {record:?}"));
            }
        }
        for record in self.records.iter().filter(|record| record.operation == Asked::Create) {
            let found = record.value.as_deref().and_then(|value| found.remove(value));
            if record.result == Ended::Ok
                && found.and_then(|found| found.created.as_ref()) != record.created.as_ref()
            {
                return Err(format!("an acknowledged create is lost: {record:?}; found: {found:?}"));
            }
        }
        found.values().next().map_or(Ok(()), |record| Err(format!("nobody created this: {record:?}")))
    }
}

impl Record {
    /// This record as an operation on a register, if it is one whose outcome says something.
    fn action(&self) -> Option<Action> {
        let value = self.value.clone();
        match (self.operation, self.result) {
            (Asked::Write | Asked::CompareAndSet, Ended::Ok) => {
                Some(Action::Wrote { version: self.version?, expected: self.expected, value: value? })
            }
            (Asked::Write | Asked::CompareAndSet, Ended::Unknown) => {
                Some(Action::MayHaveWritten { expected: self.expected, value: value? })
            }
            (Asked::CompareAndSet, Ended::BadVersion) => Some(Action::Refused { expected: self.expected? }),
            (Asked::Read, Ended::Ok) => Some(Action::Read { version: self.version?, value: value? }),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
