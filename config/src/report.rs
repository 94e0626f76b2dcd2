//! Collects what is found while settings are read, so that all mistakes are reported at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::mistake::{ConfigError, Loaded, Mistake, Origin};

/// A setting that was read: where it stands and how the operator wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    /// The key as the operator knows it.
    pub(crate) key: String,
    pub(crate) given: Option<String>,
}

/// What was found so far. Settings are known by their *field*: the dotted path in the tier's `Config`, which
/// that tier's own checks report.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    places: RefCell<BTreeMap<String, Place>>,
    failed: RefCell<BTreeSet<String>>,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Mistake>>,
}

impl Report {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            places: RefCell::default(),
            failed: RefCell::default(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// A line of the file, or the file.
    pub(crate) fn origin(&self, line: Option<usize>) -> Origin {
        Origin::File { path: self.path.clone(), line }
    }

    /// Remembers where a field comes from. A flag, remembered first, wins over the file.
    pub(crate) fn place(&self, field: impl Into<String>, place: Place) {
        self.places.borrow_mut().entry(field.into()).or_insert(place);
    }

    /// Whether anything gives the field.
    pub(crate) fn has_place(&self, field: &str) -> bool {
        self.places.borrow().contains_key(field)
    }

    /// Whether the field has a mistake already.
    pub(crate) fn has_failed(&self, field: &str) -> bool {
        self.failed.borrow().contains(field)
    }

    /// A mistake that belongs to no field.
    pub(crate) fn mistake(&self, place: Place, problem: impl Into<String>) {
        self.mistakes.borrow_mut().push(found(place, problem));
    }

    /// A mistake in a field. What a tier's checks say about it later, they say about its default; so it is left
    /// out.
    pub(crate) fn mistake_in(&self, field: impl Into<String>, place: Place, problem: impl Into<String>) {
        self.failed.borrow_mut().insert(field.into());
        self.mistake(place, problem);
    }

    /// Something to know that stops nothing.
    pub(crate) fn warning(&self, place: Place, problem: impl Into<String>) {
        self.warnings.borrow_mut().push(found(place, problem));
    }

    /// What a tier's own checks found about `field`; `key` is its name if it was not given.
    pub(crate) fn invalid(&self, field: &str, key: impl FnOnce() -> String, problem: impl Into<String>) {
        if self.has_failed(field) {
            return;
        }
        let place = self.places.borrow().get(field).cloned();
        let place = place.unwrap_or_else(|| Place { origin: self.origin(None), key: key(), given: None });
        self.mistake(place, problem);
    }

    /// `config`, unless there is a mistake.
    pub(crate) fn finish<T>(self, config: Option<T>) -> Result<Loaded<T>, ConfigError> {
        let mut mistakes = self.mistakes.into_inner();
        match config {
            Some(config) if mistakes.is_empty() => {
                Ok(Loaded { config, warnings: self.warnings.into_inner() })
            }
            _ => {
                // By line; what is missing has none and comes last, before other files and flags.
                mistakes.sort_by_key(|m| match &m.origin {
                    Origin::File { path, line } => (*path != self.path, line.unwrap_or(usize::MAX)),
                    Origin::Flag(_) => (true, usize::MAX),
                });
                Err(ConfigError::Invalid { path: self.path, mistakes })
            }
        }
    }
}

fn found(place: Place, problem: impl Into<String>) -> Mistake {
    Mistake { origin: place.origin, key: place.key, given: place.given, problem: problem.into() }
}
