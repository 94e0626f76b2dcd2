//! Access control lists, right and wrong.

use palisade_wire::{Acl, Id, Perms};

use super::chance::Chance;

/// The digests of ann:secret.
const ANN: &str = "ann:SlV1E9vpwW58TQH5p3m7xgBwEck=";

/// A list; one that lets everybody read unless `restricted`.
pub(super) fn any(chance: &mut Chance, restricted: bool) -> Vec<Acl> {
    let lists: Vec<(usize, Vec<Acl>)> =
        if restricted { [readable(), unreadable(chance)].concat() } else { readable() };
    let weights: Vec<(usize, usize)> =
        lists.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
    lists[chance.weighted(&weights)].1.clone()
}

fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms: Perms(perms), id: Id::new(scheme, id) }
}

/// Each with its weight, those that are refused included.
fn readable() -> Vec<(usize, Vec<Acl>)> {
    let everybody = || entry(1, "world", "anyone");
    let refused = ["u:", "a:b:c", "nocolon", ""].map(|id| (1, vec![entry(31, "digest", id), everybody()]));
    let wrong_addresses = ["localhost", "1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "256.1.1.1", ""]
        .map(|id| (1, vec![entry(31, "ip", id), everybody()]));
    let mut lists = vec![
        (70, Acl::open()),
        (6, vec![everybody()]),
        (6, vec![entry(31, "digest", ANN), everybody()]),
        (1, vec![entry(31, "digest", ":p"), everybody()]),
        (6, vec![entry(31, "auth", ""), everybody()]),
        (4, vec![entry(31, "ip", "127.0.0.1"), everybody()]),
        (1, vec![entry(31, "ip", "127.0.0.0/8"), everybody()]),
        (1, vec![entry(1 << 20 | 31, "world", "anyone")]),
        (1, vec![entry(-1, "world", "anyone")]),
        (2, vec![everybody(), everybody(), entry(31, "world", "anyone")]),
        (2, vec![]),
        (1, vec![entry(31, "world", "nobody")]),
        (1, vec![entry(31, "nonsense", "x")]),
        (1, vec![entry(31, "", "")]),
        (1, vec![entry(31, "super", ""), everybody()]),
        (1, vec![entry(31, "ensemble", "x"), everybody()]),
    ];
    lists.extend(refused);
    lists.extend(wrong_addresses);
    lists
}

fn unreadable(chance: &mut Chance) -> Vec<(usize, Vec<Acl>)> {
    let some = chance.index(32) as i32;
    vec![
        (12, vec![entry(31, "digest", ANN)]),
        (12, vec![entry(31, "auth", "ignored")]),
        (8, vec![entry(some, "world", "anyone")]),
        (4, vec![entry(some, "auth", ""), entry(some ^ 31, "digest", ANN)]),
        (4, vec![entry(31, "ip", "10.0.0.0/8"), entry(2, "world", "anyone")]),
        (4, vec![entry(16, "world", "anyone"), entry(31, "digest", "bob:x")]),
    ]
}
