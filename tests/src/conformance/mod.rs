//! Whether Palisade answers as Apache ZooKeeper does, reply by reply and event by event.
//!
//! [`generate()`] makes sequences of what several clients do, [`Targets::compare`] runs one against all servers, and
//! [`Targets::shrink`] finds the few steps of it that show a difference. `tests/README.md` lists the differences that
//! are deliberate; the module `rules` and the generator know them.

mod acls;
mod calls;
mod chance;
mod connect;
mod connection;
mod generate;
mod handshakes;
mod malformed;
mod paths;
mod quotas;
mod rules;
mod run;
mod servers;
mod shrink;
mod step;
mod targets;
mod text;
mod watches;

pub(crate) use connection::Connection;
pub use generate::{generate, sparing_reconfigs};
pub use servers::Servers;
pub use step::{Bytes, Call, Connect, How, ROOT, Relative, Step};
pub use targets::{Difference, Kind, Target, Targets};

/// Everybody's password of `super`, of which the servers know this digest.
pub const SUPER_DIGEST: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
/// Bounds of session timeouts, ms, that the generator expects of the servers. The lower is so long that no session
/// ends by itself.
pub const TIMEOUTS_MS: (i32, i32) = (20_000, 40_000);

/// What the beginning and the end of a session are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Transactions everywhere.
    Global,
    /// None in the others, which keep a session from the core until its first write.
    Local,
}

/// What the clients of the others see as the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The whole tree.
    Whole,
    /// A sub-tree, which was made before the sequence.
    Part,
}

/// The version of Apache ZooKeeper that the others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's 3.8.0: what a later version corrected is not asked, or the answers may differ by a rule.
    V38,
    /// 3.9.5, from which nothing may differ but by intent.
    V39,
}
