macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        /// A request's type, or a transaction's (Apache `ZooDefs.OpCode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum OpCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl OpCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The operation with this number, if there is one.
            pub const fn from_i32(value: i32) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    /// Server to client only: a watch event.
    Notification = 0;
    /// Create a znode; the reply is its path.
    Create = 1;
    /// Delete a znode.
    Delete = 2;
    /// Read a Stat.
    Exists = 3;
    /// Read data and Stat.
    GetData = 4;
    /// Replace data.
    SetData = 5;
    /// Read the ACL.
    GetAcl = 6;
    /// Replace the ACL.
    SetAcl = 7;
    /// List children.
    GetChildren = 8;
    /// Wait until this server has what the leader had.
    Sync = 9;
    /// Keep the session alive.
    Ping = 11;
    /// List children, with the Stat.
    GetChildren2 = 12;
    /// Compare a version, inside a multi only.
    Check = 13;
    /// Several writes, all or nothing.
    Multi = 14;
    /// Create a znode; the reply is its path and Stat.
    Create2 = 15;
    /// Change the ensemble's members.
    Reconfig = 16;
    /// Ask whether a watch is set.
    CheckWatches = 17;
    /// Remove watches.
    RemoveWatches = 18;
    /// Create a container.
    CreateContainer = 19;
    /// Internal: delete an empty container or an expired TTL znode.
    DeleteContainer = 20;
    /// Create a znode with a time to live.
    CreateTtl = 21;
    /// Several reads.
    MultiRead = 22;
    /// Add an identity to the connection.
    Auth = 100;
    /// Register watches again after a reconnect.
    SetWatches = 101;
    /// A SASL token.
    Sasl = 102;
    /// List the session's ephemeral znodes.
    GetEphemerals = 103;
    /// Count descendants.
    GetAllChildrenNumber = 104;
    /// [`OpCode::SetWatches`] with persistent watches.
    SetWatches2 = 105;
    /// Add a persistent watch.
    AddWatch = 106;
    /// List the connection's identities.
    WhoAmI = 107;
    /// Internal: open a session.
    CreateSession = -10;
    /// Close the session.
    CloseSession = -11;
    /// A transaction that failed.
    Error = -1;
}

impl OpCode {
    /// The number on the wire.
    pub const fn as_i32(self) -> i32 {
        self as i32
    }

    /// Whether a client's request of this type becomes a transaction.
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Create2
                | Self::CreateContainer
                | Self::CreateTtl
                | Self::Delete
                | Self::SetData
                | Self::SetAcl
                | Self::Multi
                | Self::Reconfig
                | Self::CloseSession
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for op in OpCode::ALL {
            assert_eq!(OpCode::from_i32(op.as_i32()), Some(*op));
        }
        assert_eq!(OpCode::from_i32(10), None);
    }
}
