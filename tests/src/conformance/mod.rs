//! Whether Palisade answers as Apache ZooKeeper does, reply by reply and event by event.
//!
//! [`generate()`] makes sequences of what several clients do, [`Pair::compare`] runs one against both servers, and
//! [`Pair::shrink`] finds the few steps of it that show a difference. `tests/README.md` lists the differences that
//! are deliberate; the module `rules` and the generator know them.

mod calls;
mod chance;
mod connection;
mod generate;
mod pair;
mod rules;
mod run;
mod shrink;
mod step;
mod text;

pub use generate::generate;
pub use pair::{Difference, Pair};
pub use step::{Call, Connect, Relative, Step};
