//! Differences in a line that are deliberate. Each has a paragraph in `tests/README.md`.

use palisade_wire::OpCode;

use super::step::Step;

/// Whether two lines say the same, as far as they must.
pub(super) fn agree(step: Option<&Step>, apache: &str, palisade: &str) -> bool {
    apache == palisade
        || exists_needs_read(step, apache, palisade)
        || own_watches_only(step, apache, palisade)
}

/// Apache before 3.8.4 shows the Stat of a znode to those who may not read it.
fn exists_needs_read(step: Option<&Step>, apache: &str, palisade: &str) -> bool {
    asks(step, OpCode::Exists)
        && after_the_zxid(apache, palisade)
            .is_some_and(|(apache, palisade)| apache.starts_with("OK [") && palisade == "NO_AUTH")
}

/// Apache before 3.9 finds another client's watches, too, when it is asked for watches of any kind.
fn own_watches_only(step: Option<&Step>, apache: &str, palisade: &str) -> bool {
    asks(step, OpCode::CheckWatches) && after_the_zxid(apache, palisade) == Some(("OK", "NO_WATCHER"))
}

fn asks(step: Option<&Step>, op: OpCode) -> bool {
    matches!(step, Some(Step::Calls(_, calls)) if calls.iter().any(|call| call.op == op.as_i32()))
}

/// The rest of two lines that begin with the same zxid.
fn after_the_zxid<'a>(apache: &'a str, palisade: &'a str) -> Option<(&'a str, &'a str)> {
    let (zxid, apache) = apache.split_once(' ')?;
    let (same, palisade) = palisade.split_once(' ')?;
    (zxid == same).then_some((apache, palisade))
}

#[cfg(test)]
mod tests {
    use palisade_wire::request::{PathWatch, Request};

    use super::super::step::Call;
    use super::*;

    #[test]
    fn rules_hold_for_their_requests_only() {
        let exists = Request::Exists(PathWatch { path: "/".into(), watch: false });
        let of = |op| Some(Step::Calls(0, vec![Call::new(op, &exists)]));
        let (exists, get_data) = (of(OpCode::Exists), of(OpCode::GetData));
        assert!(agree(exists.as_ref(), "z1 OK [c]", "z1 NO_AUTH"));
        for (step, apache, palisade) in [
            (&exists, "z1 OK [c]", "z2 NO_AUTH"),
            (&exists, "z1 OK [c]", "z1 NO_NODE"),
            (&exists, "z1 NO_AUTH", "z1 OK [c]"),
            (&exists, "z1 OK", "z1 NO_WATCHER"),
            (&get_data, "z1 OK [c]", "z1 NO_AUTH"),
            (&None, "z1 OK [c]", "z1 NO_AUTH"),
        ] {
            assert!(!agree(step.as_ref(), apache, palisade), "{step:?}");
        }
    }
}
