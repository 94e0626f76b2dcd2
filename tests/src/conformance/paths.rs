//! Where a sequence happens.

use super::chance::Chance;
use super::step::ROOT;

/// Below the root; those that stand twice are chosen more often.
pub(super) const PATHS: [&str; 16] = [
    "",
    "/a",
    "/a",
    "/a/x",
    "/a/x",
    "/a/y",
    "/a/x/k",
    "/a/x/k/d/e/e/p",
    "/a/x/k/d",
    "/b",
    "/b/x",
    "/b/y",
    "/a/s0000000000",
    "/a/s0000000001",
    "/a/s0000000002",
    "/b/s0000000001",
];

/// Below the root; most are not allowed.
const ODD: [&str; 30] = [
    "/a/",
    "//a",
    "/a//b",
    "/.",
    "/a/.",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/...",
    "/.a",
    "/ ",
    "/a b",
    "/a\0b",
    "/a/\0",
    "/\u{1}",
    "/\u{1f}",
    "/\u{7e}",
    "/\u{7f}",
    "/\u{9f}",
    "/\u{a0}",
    "/é",
    "/e\u{301}",
    "/\u{202e}rtl",
    "/\u{d7ff}",
    "/\u{e000}",
    "/\u{f8ff}",
    "/\u{f900}",
    "/\u{ffef}",
    "/\u{fff0}",
    "/\u{1f600}",
];

/// Not below the root. What /zookeeper/config holds is every server's own.
const ELSEWHERE: [&str; 11] = [
    "/",
    "/",
    "/zookeeper",
    "/zookeeper/quota",
    "",
    "a",
    "/nowhere",
    "/nowhere/x",
    "nowhere/",
    "/zookeeper/",
    "\0",
];

/// Any name that is allowed and long.
const LONG: usize = 5_000;

pub(super) fn known(chance: &mut Chance) -> String {
    format!("{ROOT}{}", chance.pick(&PATHS))
}

/// Some are odd.
pub(super) fn any(chance: &mut Chance) -> String {
    match chance.weighted(&[(90, 0), (7, 1), (4, 2), (1, 3)]) {
        0 => known(chance),
        1 => format!("{ROOT}{}", chance.pick(&ODD)),
        2 => chance.pick(&ELSEWHERE).to_owned(),
        _ => format!("{ROOT}/{}", "long".repeat(LONG / 4)),
    }
}

/// Never the folder itself, without which nothing more would happen.
pub(super) fn to_write(chance: &mut Chance) -> String {
    match any(chance) {
        path if path == ROOT => format!("{ROOT}/a"),
        path => path,
    }
}

/// Below the folder: what changes elsewhere would last longer than the sequence.
pub(super) fn to_restrict(chance: &mut Chance) -> String {
    match chance.percent(90) {
        true => format!("{ROOT}{}", chance.pick(&PATHS[1..])),
        false => format!("{ROOT}{}", chance.pick(&ODD)),
    }
}

/// Where a number is appended.
pub(super) fn sequential(chance: &mut Chance) -> String {
    format!(
        "{ROOT}{}",
        chance.pick(&["/a/s", "/a/s", "/b/s", "/s", "/a/", "/a//", "/nowhere/s", "/a/.", "/a/..", "//"])
    )
}
