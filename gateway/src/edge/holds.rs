//! Who holds locks, and for how long, from the transactions that make and delete ephemerals.

use std::time::Duration;

use palisade_wire::{SessionId, path};

use super::hub::Hub;

/// Digits of the number at the end of a sequential znode's name.
const NUMBER: usize = 10;

/// The path above a numbered znode.
fn above_numbered(path: &str) -> Option<&str> {
    let (name, number) = path.as_bytes().split_at_checked(path.len().checked_sub(NUMBER)?)?;
    (!name.is_empty() && number.iter().all(u8::is_ascii_digit)).then(|| path::parent(path))?
}

impl Hub {
    /// A session made an ephemeral znode.
    pub(super) fn ephemeral_made(&self, session: SessionId, path: &str) {
        if let Some(parent) = above_numbered(path).and_then(|parent| self.root().leave(parent)) {
            self.throttle().acquired(&parent, || self.connections().has(session));
        }
    }

    /// A session deleted an ephemeral znode so many ms after it was made, or ended.
    pub(super) fn ephemeral_gone(&self, session: SessionId, path: &str, lived_ms: i64) {
        if let Some(parent) = above_numbered(path).and_then(|parent| self.root().leave(parent)) {
            let lived = Duration::from_millis(u64::try_from(lived_ms).unwrap_or_default());
            self.throttle().released(&parent, lived, || self.connections().has(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_end_with_ten_digits() {
        for (path, parent) in [
            ("/orders/7/lock-0000000012", Some("/orders/7")),
            ("/orders/0000000012", Some("/orders")),
            ("/0000000012", Some("/")),
            ("/orders/lock-000000012", None),
            ("/orders/lock-00000000x2", None),
            ("0000000012", None),
            ("/é0000", None),
            ("", None),
        ] {
            assert_eq!(above_numbered(path), parent, "{path}");
        }
    }
}
