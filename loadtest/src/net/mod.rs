//! Many client connections in one thread, as cheap as the system calls allow: no task, no timer and no buffer for a
//! connection that is idle.

pub(crate) mod batch;
pub(crate) mod conn;
pub(crate) mod reactor;
pub(crate) mod sessions;
