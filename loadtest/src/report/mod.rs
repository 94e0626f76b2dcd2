//! Results for people and for programs.

pub(crate) mod html;
pub(crate) mod plot;
pub(crate) mod rounds;
pub(crate) mod table;
