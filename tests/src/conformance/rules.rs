//! Differences in a line that are deliberate. Each has a paragraph in `tests/README.md`.

use palisade_wire::OpCode;

use super::Version;
use super::step::Step;

/// Whether two lines say the same, as far as they must.
pub(super) fn agree(version: Version, step: Option<&Step>, reference: &str, other: &str) -> bool {
    reference == other
        || version == Version::V38
            && (exists_needs_read(step, reference, other) || own_watches_only(step, reference, other))
}

/// Apache before 3.8.4 shows the Stat of a znode to those who may not read it.
fn exists_needs_read(step: Option<&Step>, reference: &str, other: &str) -> bool {
    asks(step, OpCode::Exists)
        && after_the_zxid(reference, other)
            .is_some_and(|(reference, other)| reference.starts_with("OK [") && other == "NO_AUTH")
}

/// Apache before 3.9 finds another client's watches, too, when it is asked for watches of any kind.
fn own_watches_only(step: Option<&Step>, reference: &str, other: &str) -> bool {
    asks(step, OpCode::CheckWatches) && after_the_zxid(reference, other) == Some(("OK", "NO_WATCHER"))
}

fn asks(step: Option<&Step>, op: OpCode) -> bool {
    matches!(
        step,
        Some(Step::Calls(_, calls) | Step::Close(_, calls))
            if calls.iter().any(|call| call.op == op.as_i32())
    )
}

/// The rest of two lines that begin with the same zxid.
fn after_the_zxid<'a>(reference: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    let (zxid, reference) = reference.split_once(' ')?;
    let (same, other) = other.split_once(' ')?;
    (zxid == same).then_some((reference, other))
}

#[cfg(test)]
mod tests {
    use palisade_wire::request::{PathWatch, Request};

    use super::super::step::Call;
    use super::*;

    #[test]
    fn rules_hold_for_their_requests_and_version_only() {
        let exists = Request::Exists(PathWatch { path: "/".into(), watch: false });
        let of = |op| Some(Step::Calls(0, vec![Call::new(op, &exists)]));
        let (exists, get_data) = (of(OpCode::Exists), of(OpCode::GetData));
        assert!(agree(Version::V38, exists.as_ref(), "z1 OK [c]", "z1 NO_AUTH"));
        assert!(!agree(Version::V39, exists.as_ref(), "z1 OK [c]", "z1 NO_AUTH"));
        for (step, reference, other) in [
            (&exists, "z1 OK [c]", "z2 NO_AUTH"),
            (&exists, "z1 OK [c]", "z1 NO_NODE"),
            (&exists, "z1 NO_AUTH", "z1 OK [c]"),
            (&exists, "z1 OK", "z1 NO_WATCHER"),
            (&get_data, "z1 OK [c]", "z1 NO_AUTH"),
            (&None, "z1 OK [c]", "z1 NO_AUTH"),
        ] {
            assert!(!agree(Version::V38, step.as_ref(), reference, other), "{step:?}");
        }
    }
}
