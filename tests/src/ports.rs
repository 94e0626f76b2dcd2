//! TCP ports on 127.0.0.1 that nobody else takes before the server under test binds them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;

/// Below Linux's ephemeral ports, so that no outgoing connection takes one.
const LEASABLE: Range<u16> = 12_000..32_000;
const BLOCK: u16 = 50;

/// A block of ports, leased from all test processes of this machine until dropped.
#[derive(Debug)]
pub struct Ports {
    next: u16,
    end: u16,
    _lease: File,
}

impl Ports {
    /// Leases a block. The lease is a file lock, so it ends with this process at the latest.
    pub fn lease() -> Self {
        let user = rustix::process::getuid().as_raw();
        let folder = std::env::temp_dir().join(format!("palisade-test-ports-{user}"));
        fs::create_dir_all(&folder).expect("cannot create the folder of port leases");
        for next in LEASABLE.step_by(usize::from(BLOCK)) {
            let lease = File::create(folder.join(next.to_string())).expect("cannot create a port lease");
            if lease.try_lock().is_ok() {
                return Self { next, end: next + BLOCK, _lease: lease };
            }
        }
        panic!("all ports of {LEASABLE:?} are leased")
    }

    /// A port that is free now.
    pub fn take(&mut self) -> u16 {
        self.take_consecutive(1)
    }

    /// The first of `count` consecutive ports that are free now.
    pub fn take_consecutive(&mut self, count: u16) -> u16 {
        while self.next + count <= self.end {
            let first = self.next;
            if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                self.next += count;
                return first;
            }
            self.next += 1;
        }
        panic!("no free port is left in the block that ends at {}", self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_disjoint() {
        let (mut one, mut two) = (Ports::lease(), Ports::lease());
        let first = one.take_consecutive(3);
        assert!(one.take() >= first + 3);
        assert!(!(first..first + BLOCK).contains(&two.take()));
    }

    #[test]
    fn taken_ports_are_skipped() {
        let mut ports = Ports::lease();
        let _taken = TcpListener::bind(("127.0.0.1", ports.next + 1)).unwrap();
        assert_eq!(ports.take_consecutive(2), ports.end - BLOCK + 2);
    }
}
