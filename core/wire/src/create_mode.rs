/// How a znode is created: the `flags` of a create request (Apache `CreateMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until it is deleted.
    #[default]
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Persistent, with a counter appended to its name.
    PersistentSequential = 2,
    /// Ephemeral, with a counter appended to its name.
    EphemeralSequential = 3,
    /// Is deleted some time after its last child.
    Container = 4,
    /// Is deleted when it had no children and no change for its time to live.
    PersistentTtl = 5,
    /// The same, with a counter appended to its name.
    PersistentSequentialTtl = 6,
}

impl CreateMode {
    /// The mode with this flag value, if there is one.
    pub const fn from_flags(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentTtl,
            6 => Self::PersistentSequentialTtl,
            _ => return None,
        })
    }

    /// The flag value on the wire.
    pub const fn flags(self) -> i32 {
        self as i32
    }

    /// Whether the znode goes with its session.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether a counter is appended to the name.
    pub const fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialTtl)
    }

    /// Whether the znode is a container.
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Container)
    }

    /// Whether the znode has a time to live.
    pub const fn is_ttl(self) -> bool {
        matches!(self, Self::PersistentTtl | Self::PersistentSequentialTtl)
    }
}
