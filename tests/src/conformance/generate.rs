//! Sequences from a seed: which client does what.

use palisade_wire::OpCode;
use palisade_wire::request::Request;

use super::calls::Calls;
use super::chance::Chance;
use super::step::{Call, Connect, SLOTS, Step};

/// Types that no client may send.
const UNKNOWN: [i32; 6] = [0, 10, 23, 99, 108, 1000];

/// The sequence of this seed, with about `calls` requests.
pub fn generate(seed: u64, calls: usize) -> Vec<Step> {
    let mut generator = Generator::new(seed);
    let mut left = calls;
    while left > 0 {
        left = left.saturating_sub(generator.step());
    }
    generator.steps
}

#[derive(Debug)]
struct Generator {
    chance: Chance,
    calls: Calls,
    connected: [bool; SLOTS],
    steps: Vec<Step>,
}

#[derive(Clone, Copy)]
enum Kind {
    Alone,
    Pipeline,
    Auth,
    Unknown,
    Garbage,
    Drop,
    Connect,
    Close,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let calls = Calls::new(&mut chance);
        Self { chance, calls, connected: [true; SLOTS], steps: Vec::new() }
    }

    /// Adds a step, and returns how many requests it has.
    fn step(&mut self) -> usize {
        let slot = self.chance.index(SLOTS);
        if !self.connected[slot] {
            self.reconnect(slot);
            return 1;
        }
        let kinds = [
            (120, Kind::Alone),
            (25, Kind::Pipeline),
            (4, Kind::Auth),
            (1, Kind::Unknown),
            (1, Kind::Garbage),
            (3, Kind::Drop),
            (2, Kind::Connect),
            (3, Kind::Close),
        ];
        match self.chance.weighted(&kinds) {
            Kind::Alone => {
                let call = self.calls.any(&mut self.chance, slot);
                self.steps.push(Step::Calls(slot, vec![call]));
            }
            Kind::Pipeline => {
                let count = 2 + self.chance.index(6);
                let calls = (0..count).map(|_| self.calls.ordered(&mut self.chance, slot)).collect();
                self.steps.push(Step::Calls(slot, calls));
                return count;
            }
            Kind::Auth => self.auth(slot),
            Kind::Unknown => {
                let op = self.chance.pick(&UNKNOWN);
                let call = Call { op, body: Vec::new(), relative: None, xid: None };
                self.ending(slot, Step::Calls(slot, vec![call]));
            }
            Kind::Garbage => {
                let lengths: [i32; 4] = [-1, i32::MIN, i32::MAX, 0x10_0000];
                let bytes = self.chance.pick(&lengths).to_be_bytes().to_vec();
                self.ending(slot, Step::Garbage(slot, bytes));
            }
            Kind::Drop => self.ending(slot, Step::Drop(slot)),
            Kind::Connect => self.steps.push(Step::Connect(slot, Connect::TakeOver)),
            Kind::Close => self.ending(slot, Step::Close(slot)),
        }
        1
    }

    fn ending(&mut self, slot: usize, step: Step) {
        self.steps.push(step);
        self.connected[slot] = false;
    }

    fn auth(&mut self, slot: usize) {
        let digest = |auth: &'static [u8]| ("digest", Some(auth));
        let credentials = [
            (6, digest(b"ann:secret")),
            (6, digest(b"bob:secret")),
            (1, digest(b"ann:wrong")),
            (1, digest(b"nocolon")),
            (1, ("ip", Some(b"127.0.0.1"))),
            (1, ("digest", None)),
            (1, ("world", Some(b"anyone"))),
            (1, ("nonsense", Some(b"x"))),
        ];
        let (scheme, auth) = self.chance.weighted(&credentials);
        let xid = if self.chance.percent(80) { Some(-4) } else { None };
        let request = Request::Auth { scheme: scheme.into(), auth };
        let step = Step::Calls(slot, vec![Call { xid, ..Call::new(OpCode::Auth, &request) }]);
        if auth.is_none() || !["digest", "ip"].contains(&scheme) {
            self.ending(slot, step);
        } else {
            self.steps.push(step);
        }
    }

    /// Sometimes fails to, first.
    fn reconnect(&mut self, slot: usize) {
        let failures = [Connect::WrongPassword, Connect::Unknown, Connect::Ahead];
        if self.chance.percent(15) {
            let how = self.chance.pick(&failures);
            self.steps.push(Step::Connect(slot, how));
        }
        let how = self.chance.weighted(&[(5, Connect::Resume), (2, Connect::New), (1, Connect::NewOld)]);
        self.steps.push(Step::Connect(slot, how));
        self.connected[slot] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_sequence() {
        assert_eq!(generate(7, 50), generate(7, 50));
        assert_ne!(generate(7, 50), generate(8, 50));
    }
}
