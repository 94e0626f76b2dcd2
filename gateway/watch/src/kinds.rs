//! Connections, and the kinds of watches that one of them may have on a path.

use palisade_wire::DecodeError;
use palisade_wire::reply::EventType;

/// A connection's place in the tables of its gateway; given again after the connection has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Slots are below this: four bits of a `Watcher`'s word hold its kinds.
    pub const LIMIT: usize = 1 << 28;

    /// The slot with this index, `None` if it is too large.
    pub fn new(index: usize) -> Option<Self> {
        u32::try_from(index).ok().filter(|_| index < Self::LIMIT).map(Self)
    }

    /// The index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// Kinds of watches. One connection may have all four on one path (ZOOKEEPER-4466).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NONE: Self = Self(0);
    /// Data and existence, once.
    pub(crate) const DATA: Self = Self(1);
    /// The list of children, once.
    pub(crate) const CHILD: Self = Self(2);
    /// Both, until removed.
    pub(crate) const PERSISTENT: Self = Self(4);
    /// Creation, data and deletion of the path and all its descendants, until removed.
    pub(crate) const RECURSIVE: Self = Self(8);
    pub(crate) const ALL: Self = Self(15);
    /// Those that one event uses up.
    pub(crate) const ONE_SHOT: Self = Self(3);
    /// Those that stay.
    pub(crate) const LASTING: Self = Self(4 | 8);
    /// Those that Apache keeps in `DataTree.dataWatches`.
    pub(crate) const DATA_TABLE: Self = Self(1 | 4 | 8);
    /// Those that Apache keeps in `DataTree.childWatches`.
    pub(crate) const CHILD_TABLE: Self = Self(2 | 4);

    /// Those that hear of this event at their own path.
    pub(crate) const fn hearing(event: EventType) -> Self {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => Self::DATA_TABLE,
            EventType::NodeDeleted => Self::ALL,
            EventType::NodeChildrenChanged => Self::CHILD_TABLE,
        }
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// In how many of Apache's tables they are.
    pub(crate) const fn tables(self) -> usize {
        self.has_any(Self::DATA_TABLE) as usize + self.has_any(Self::CHILD_TABLE) as usize
    }

    /// The kinds that are set, each by itself.
    pub(crate) const SINGLE: [Self; 4] = [Self::DATA, Self::CHILD, Self::PERSISTENT, Self::RECURSIVE];
}

/// A slot and its kinds, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watcher(u32);

impl Watcher {
    /// No watcher.
    pub(crate) const NOBODY: Self = Self(0);

    pub(crate) const fn new(slot: Slot, kinds: Kinds) -> Self {
        Self(slot.0 << 4 | kinds.0 as u32)
    }

    pub(crate) const fn slot(self) -> Slot {
        Slot(self.0 >> 4)
    }

    pub(crate) const fn kinds(self) -> Kinds {
        Kinds((self.0 & 15) as u8)
    }
}

/// What checkWatches and removeWatches name (`Watcher.WatcherType`, with ZOOKEEPER-4471).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// One-shot child watches.
    Children,
    /// One-shot data and exist watches.
    Data,
    /// All.
    Any,
    /// Persistent watches.
    Persistent,
    /// Persistent recursive watches.
    Recursive,
}

impl WatchKind {
    /// The kind with this number.
    ///
    /// # Errors
    /// The number names none, which a client is told as a marshalling error.
    pub fn from_i32(value: i32) -> Result<Self, DecodeError> {
        Ok(match value {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::Recursive,
            other => return Err(DecodeError::Unknown { field: "watch type", value: other.into() }),
        })
    }

    pub(crate) const fn kinds(self) -> Kinds {
        match self {
            Self::Children => Kinds::CHILD,
            Self::Data => Kinds::DATA,
            Self::Any => Kinds::ALL,
            Self::Persistent => Kinds::PERSISTENT,
            Self::Recursive => Kinds::RECURSIVE,
        }
    }
}
