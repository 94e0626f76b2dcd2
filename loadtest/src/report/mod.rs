//! Results for people and for programs.

pub(crate) mod table;
