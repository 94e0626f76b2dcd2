//! A disk that carries out one thing after another and forgets, in a crash, what it has not done.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_wire::Zxid;

use crate::config::Recovered;
use crate::io::{Input, Output};

/// A whole history: the tests' trees.
pub(crate) type Tree = Vec<(Zxid, Bytes)>;

pub(crate) fn last_of(tree: &Tree) -> Zxid {
    tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
}

#[derive(Debug)]
pub(crate) enum Op {
    Append(Zxid, Bytes),
    Truncate(Zxid),
    Install(Tree),
    Accepted(u32),
    Current(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) log: Tree,
    pub(crate) accepted: u32,
    pub(crate) current: u32,
    pub(crate) queue: VecDeque<Op>,
    /// Whether truncations fail, as if no old enough snapshot were left.
    pub(crate) cannot_truncate: bool,
}

impl Disk {
    /// Takes an output that is for the disk.
    pub(crate) fn submit(&mut self, output: &Output, staged: &Tree) -> bool {
        let op = match output {
            Output::Append { zxid, payload } => Op::Append(*zxid, payload.clone()),
            Output::Truncate { to } => Op::Truncate(*to),
            Output::InstallSnapshot { zxid } => {
                assert_eq!(last_of(staged), *zxid, "another snapshot than the one received");
                Op::Install(staged.clone())
            }
            Output::WriteAcceptedEpoch { epoch } => Op::Accepted(*epoch),
            Output::WriteCurrentEpoch { epoch } => Op::Current(*epoch),
            _ => return false,
        };
        self.queue.push_back(op);
        true
    }

    /// Does the next thing, or all appends that stand together, and says so.
    pub(crate) fn complete(&mut self) -> Option<Input> {
        Some(match self.queue.pop_front()? {
            Op::Append(mut zxid, payload) => {
                assert!(zxid.follows(last_of(&self.log)), "{zxid} after {}", last_of(&self.log));
                self.log.push((zxid, payload));
                while let Some(Op::Append(..)) = self.queue.front() {
                    let Some(Op::Append(next, payload)) = self.queue.pop_front() else { unreachable!() };
                    assert!(next.follows(zxid));
                    zxid = next;
                    self.log.push((next, payload));
                }
                Input::Flushed { zxid }
            }
            Op::Truncate(_) if self.cannot_truncate => Input::TruncateFailed,
            Op::Truncate(to) => {
                self.log.retain(|(zxid, _)| *zxid <= to);
                Input::Truncated { zxid: last_of(&self.log) }
            }
            Op::Install(tree) => {
                self.log = tree;
                Input::SnapshotInstalled { zxid: last_of(&self.log) }
            }
            Op::Accepted(epoch) => {
                assert!(epoch > self.accepted);
                self.accepted = epoch;
                Input::AcceptedEpochWritten { epoch }
            }
            Op::Current(epoch) => {
                assert!(epoch > self.current);
                self.current = epoch;
                Input::CurrentEpochWritten { epoch }
            }
        })
    }

    /// What is found after a crash, with the newest `recent` transactions in memory.
    pub(crate) fn recover(&mut self, recent: usize) -> Recovered {
        self.queue.clear();
        Recovered {
            accepted_epoch: self.accepted,
            current_epoch: self.current,
            last_zxid: last_of(&self.log),
            recent: self.log[self.log.len().saturating_sub(recent)..].to_vec(),
        }
    }
}
