//! A tenant's sub-tree, which its clients see as the whole tree.
//!
//! A client speaks of `/app`, the core of `/tenants/discovery/app`. [`Root`] knows both names of a znode; requests
//! are renamed on their way in, created names and events on their way out. What a client cannot name it can neither
//! see nor change, and what changes outside has no name to be told by.
//!
//! Three places are special:
//!
//! * Quotas: the core counts for what stands below its own `/zookeeper/quota`, so the tenant's `/zookeeper/quota/app`
//!   is the core's `/zookeeper/quota/tenants/discovery/app`.
//! * `/zookeeper/config` is the tenant's own, and empty: the voters are no business of clients. Reconfig is refused as
//!   by a server where it is switched off.
//! * The root itself can no more be deleted than `/` can.
//!
//! `establish` makes the root, and the znodes that every tree is born with, at the first start. With them it makes a
//! secret, by which the tenant's gateways, and no others, issue and know the passwords of its sessions.

mod establish;
mod rewrite;
mod root;
mod usage;

pub use establish::RootCollision;
pub(crate) use establish::establish;
pub(crate) use rewrite::{Unnamable, confine};
pub(crate) use root::Root;
