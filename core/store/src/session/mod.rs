//! Sessions: ids, passwords, expiry and ownership (Apache `SessionTrackerImpl`, `ExpiryQueue`).

mod leader;
mod tracker;

pub use leader::LeaderSessions;
pub use tracker::SessionTracker;

use palisade_wire::{SessionId, Sid};

/// What a session may do, as seen from one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A global session that this connection owns.
    Open,
    /// Not known here, but assumed to be a local session of a gateway: it may write, but own no ephemerals.
    Local,
    /// Not known: it expired, or never was.
    Unknown,
    /// Its end is already under way.
    Closing,
    /// Another connection owns it now.
    Moved,
}

/// The first id that a server hands out: the low byte of its own id in the high byte, then 40 bits of a clock in
/// ms, then a counter; later ids count up from it (`SessionTrackerImpl.initializeNextSessionId`).
///
/// Server ids whose low byte is 0 with a clock of 0, or 0xff, make ids that collide with "none" or with the stored
/// form of a time to live; no server may have them.
pub const fn first_id(sid: Sid, millis: u64) -> SessionId {
    ((sid as u64) << 56 | (millis << 24) >> 8) as i64
}

/// The password of a session: a function of its id that all servers share, without secrecy
/// (`ZooKeeperServer.generatePasswd`: Java's `Random`, seeded by the id and a constant).
pub fn password(session: SessionId) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    let mut state = (session as u64 ^ 0xb341_5c00 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_apache() {
        let vectors = [
            (0x0100_000f_9fc8_0000, 0x4afd_032c_0f86_10cc_385a_4ffb_7002_1a9d_u128),
            (0x0100_0011_55f9_0000, 0x0d7e_1f3f_168b_3972_33c8_be49_4f58_bf2c),
        ];
        for (session, expected) in vectors {
            assert_eq!(password(session), expected.to_be_bytes(), "{session:#x}");
        }
    }

    #[test]
    fn ids_begin_with_the_server_and_the_clock() {
        assert_eq!(first_id(1, 0), 0x0100_0000_0000_0000);
        assert_eq!(first_id(0x181, 0xab12_3456_789a), 0x8112_3456_789a_0000_u64 as i64);
        assert!(first_id(200, 1) < 0);
    }
}
