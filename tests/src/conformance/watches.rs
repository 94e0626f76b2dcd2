//! Requests that leave, look for and take away watches.

use std::borrow::Cow;

use palisade_wire::request::{PathWatch, Request, SetWatches, xid};
use palisade_wire::{OpCode, Zxid};

use super::Version;
use super::chance::Chance;
use super::paths::{self, PATHS};
use super::step::{Call, ROOT, Relative, SLOTS};

/// How a client watches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Once,
    Persistent,
    Recursive,
}

const STYLES: [Style; 3] = [Style::Once, Style::Persistent, Style::Recursive];

/// Who watches what in one sequence.
#[derive(Debug)]
pub(super) struct Watching {
    /// The one way in which a client watches a path, for servers that keep no more; none where all ways are mixed.
    styles: Option<[[Style; PATHS.len()]; SLOTS]>,
}

impl Watching {
    pub(super) fn new(chance: &mut Chance, version: Version) -> Self {
        let mut styles = [[Style::Once; PATHS.len()]; SLOTS];
        for style in styles.iter_mut().flatten() {
            *style = chance.weighted(&[(6, Style::Once), (2, Style::Persistent), (1, Style::Recursive)]);
        }
        Self { styles: (version == Version::V38).then_some(styles) }
    }

    /// A path that this client watches once for each event.
    pub(super) fn once(&self, chance: &mut Chance, slot: usize) -> PathWatch<'static> {
        PathWatch { path: self.path(chance, slot, Style::Once).into(), watch: true }
    }

    /// A path that this client watches in this way.
    fn path(&self, chance: &mut Chance, slot: usize, style: Style) -> String {
        let Some(styles) = &self.styles else { return paths::any(chance) };
        // That of the first place where the path stands in the list.
        let style_of = |path: &str| PATHS.iter().position(|other| *other == path).map(|at| styles[slot][at]);
        let styled: Vec<&str> = PATHS.into_iter().filter(|path| style_of(path) == Some(style)).collect();
        match styled.is_empty() {
            true => format!("{ROOT}/{style:?}"),
            false => format!("{ROOT}{}", chance.pick(&styled)),
        }
    }

    pub(super) fn add(&self, chance: &mut Chance, slot: usize) -> Call {
        let (style, mode) = chance.pick(&[(Style::Persistent, 0), (Style::Recursive, 1)]);
        let path = self.path(chance, slot, style).into();
        let mode = if chance.percent(5) { chance.pick(&[2, -1, i32::MAX]) } else { mode };
        Call::new(OpCode::AddWatch, &Request::AddWatch { path, mode })
    }

    pub(super) fn check(&self, chance: &mut Chance, slot: usize) -> Call {
        let (path, kind) = self.kind(chance, slot);
        Call::new(OpCode::CheckWatches, &Request::CheckWatches { path, kind })
    }

    pub(super) fn remove(&self, chance: &mut Chance, slot: usize) -> Call {
        let (path, kind) = self.kind(chance, slot);
        Call::new(OpCode::RemoveWatches, &Request::RemoveWatches { path: Some(path), kind })
    }

    /// What to check or remove: older servers do not tell the kinds of persistent watches apart.
    fn kind(&self, chance: &mut Chance, slot: usize) -> (Cow<'static, str>, i32) {
        let style = chance.pick(&STYLES);
        let kinds: &[i32] = match (&self.styles, style) {
            (None, _) => &[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6, -1],
            (Some(_), Style::Once) => &[1, 2, 3, 0, 9],
            (Some(_), _) => &[3, 3, 3, -1],
        };
        (self.path(chance, slot, style).into(), chance.pick(kinds))
    }

    pub(super) fn set(&self, chance: &mut Chance, slot: usize) -> Call {
        let mut list = |style| -> Vec<Cow<'static, str>> {
            (0..chance.index(4)).map(|_| self.path(chance, slot, style).into()).collect()
        };
        let watches = SetWatches {
            relative_zxid: Zxid::ZERO,
            data: list(Style::Once),
            exist: list(Style::Once),
            child: list(Style::Once),
            persistent: list(Style::Persistent),
            recursive: list(Style::Recursive),
        };
        let op = chance.pick(&[OpCode::SetWatches, OpCode::SetWatches2]);
        let relative = Some(chance.pick(&[Relative::Start, Relative::LastSeen]));
        let xid = if chance.percent(50) { Some(xid::SET_WATCHES) } else { None };
        Call { relative, xid, ..Call::new(op, &Request::SetWatches(watches)) }
    }
}
