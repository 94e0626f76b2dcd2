//! Where a session stands that a client comes back with, and whether this gateway may take it in.
//!
//! A local session is known to its gateway only. When its client moves to another gateway of the tenant, that one
//! *adopts* the session: the client keeps id and password, and registers its watches again. Nothing else belongs to a
//! local session, so nothing else has to move.
//!
//! # An ended session never comes back
//!
//! Before its first write a local session becomes a global one, under the same id; it may then own ephemerals, and
//! when the core ends it, others get its locks. Its id must never again be that of a living session: its client would
//! believe that it still holds what others hold by now. The argument:
//!
//! * A password proves ([`Proof::Vouched`]) that a gateway of this tenant knew, at zxid *Z*, that the session had not
//!   ended. At birth that is trivial: whatever becomes of the session comes after. Hence the end of the session, if
//!   there ever is one, has a zxid above *Z*.
//! * A replica knows the ends of all sessions with zxids above its horizon *H* and up to its last transaction *L*
//!   ([`ClosedSessions`]).
//! * So if *H* ≤ *Z* ≤ *L*, and the session is neither among the ended nor among the living of the tree, then up to
//!   *L* it was never global, and may be adopted. If *Z* < *H*, or without such a proof, only the core can say. If
//!   *L* < *Z*, this replica must catch up first.
//! * What happens after *L* comes in the stream. If it shows the session's beginning, and this gateway did not ask
//!   for it, the client was elsewhere: the session is global from then on, and the connection here is closed so that
//!   its client is asked for at the core. If it shows the end, the session ends here too. A client that knows of any of
//!   it — because a write was answered — has seen a zxid above *L* and is not let in before the replica has that.
//! * An adopted session may have ended unseen, after *L*, when it first writes here. So before an adopted session is
//!   made global, a sync brings the replica up to date. If it had ended by then, it ends here, without a write. If
//!   it ends while its createSession is on its way (another gateway must have made it global, which this one sees), the
//!   connection is closed, and the id stays among the ended: even if the core takes the createSession, nobody can
//!   come back with it, and the core expires it. The core's voters refuse to create a session anew that they remember
//!   as ended; Apache's do not.
//! * After a gap — a leader sent a whole tree — a local session may have become global and ended unseen. Those stay
//!   of which that cannot be: born here, connected here ever since, and not on their way to become global. The others
//!   are ended.
//!
//! Ends are never forgotten without raising *H*, over restarts too; a history that goes back raises it above all that
//! was ever shown.

use palisade_store::DataTree;
use palisade_wire::SessionId;

use super::Proof;
use crate::replica::closed::ClosedSessions;

/// Where a session stands, as far as the replica can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The core knew it at the replica's last transaction.
    Global,
    /// It was never known to the core, up to the replica's last transaction.
    Local,
    /// It has ended.
    Ended,
    /// Only the core can tell.
    Unclear,
}

/// Where the session stands whose client has given this proof. `closed` is that of the tree.
pub(crate) fn standing(
    tree: &DataTree,
    closed: &ClosedSessions,
    session: SessionId,
    proof: Proof,
) -> Standing {
    // Before the tree: the core may have been made to take an ended session for a new one.
    if closed.contains(session) {
        return Standing::Ended;
    }
    if tree.session_timeout(session).is_some() {
        return Standing::Global;
    }
    match proof {
        Proof::Vouched(at) if closed.horizon() <= at && at <= tree.last_zxid() => Standing::Local,
        Proof::Vouched(_) | Proof::Apache => Standing::Unclear,
        Proof::Wrong => Standing::Ended,
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Zxid;
    use palisade_wire::txn::{Txn, TxnHeader};

    use super::*;

    const SESSION: SessionId = 0x65_0000;

    /// A tree at zxid 20, and what is known since zxid 10.
    fn replica(txns: &[(i64, Txn)]) -> (DataTree, ClosedSessions) {
        let (mut tree, mut closed) = (DataTree::new(), ClosedSessions::since(Zxid(10)));
        for (zxid, txn) in txns {
            let header = TxnHeader { session: SESSION, cxid: 0, zxid: Zxid(*zxid), time: 0 };
            tree.apply(&header, txn, &mut |_| {});
            if matches!(txn, Txn::CloseSession(_)) {
                closed.insert(SESSION, Zxid(*zxid));
            }
        }
        tree.set_last_zxid(Zxid(20));
        (tree, closed)
    }

    #[test]
    fn only_what_was_certainly_never_global_is_local() {
        let (tree, closed) = replica(&[]);
        for (at, expected) in
            [(9, Standing::Unclear), (10, Standing::Local), (20, Standing::Local), (21, Standing::Unclear)]
        {
            let proof = Proof::Vouched(Zxid(at));
            assert_eq!(standing(&tree, &closed, SESSION, proof), expected, "vouched for at {at}");
        }
        assert_eq!(standing(&tree, &closed, SESSION, Proof::Apache), Standing::Unclear);
        assert_eq!(standing(&tree, &closed, SESSION, Proof::Wrong), Standing::Ended);
    }

    #[test]
    fn what_became_global_is_not_local_and_what_ended_stays_so() {
        let proof = Proof::Vouched(Zxid(11));
        let created = (12, Txn::CreateSession(4_000));
        let ended = (13, Txn::CloseSession(None));
        let (tree, closed) = replica(std::slice::from_ref(&created));
        assert_eq!(standing(&tree, &closed, SESSION, proof), Standing::Global);
        let (tree, closed) = replica(&[created.clone(), ended.clone()]);
        assert_eq!(standing(&tree, &closed, SESSION, proof), Standing::Ended);
        let again = (14, created.1.clone());
        let (tree, closed) = replica(&[created, ended, again]);
        assert_eq!(standing(&tree, &closed, SESSION, proof), Standing::Ended, "the core was made to take it");
    }
}
