//! Sequences from a seed: which client does what.

use palisade_wire::OpCode;
use palisade_wire::request::Request;

use super::calls::Calls;
use super::chance::Chance;
use super::step::{Call, Connect, How, SLOTS, Step};
use super::{TIMEOUTS_MS, Version, handshakes, malformed};

/// Types that no client may send.
const UNKNOWN: [i32; 8] = [0, -1, 10, 23, 99, 108, 1000, i32::MIN];

/// The sequence of this seed, with about `calls` requests, for a comparison with that version.
pub fn generate(seed: u64, calls: usize, version: Version) -> Vec<Step> {
    let mut generator = Generator::new(seed, version);
    let mut left = calls;
    while left > 0 {
        left = left.saturating_sub(generator.step());
    }
    generator.steps
}

/// Leaves reconfigurations out of pipelines: where one is refused without a zxid, those behind it have others.
pub fn sparing_reconfigs(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        if let Step::Calls(_, calls) | Step::Close(_, calls) = step
            && calls.len() > 1
        {
            calls.retain(|call| !call.is(OpCode::Reconfig));
        }
    }
    steps
}

#[derive(Debug)]
struct Generator {
    version: Version,
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
    Handshake,
    Close,
}

impl Generator {
    fn new(seed: u64, version: Version) -> Self {
        let mut chance = Chance::new(seed);
        let calls = Calls::new(&mut chance, version);
        let steps = calls.first().into_iter().map(|call| Step::Calls(0, vec![call])).collect();
        Self { version, chance, calls, connected: [true; SLOTS], steps }
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
            (1, Kind::Handshake),
            (3, Kind::Close),
        ];
        let chance = &mut self.chance;
        match chance.weighted(&kinds) {
            Kind::Alone => {
                let call = self.calls.alone(chance, slot);
                self.steps.push(Step::Calls(slot, vec![call]));
            }
            Kind::Pipeline => {
                let calls = self.calls.pipeline(chance, slot);
                let count = calls.len();
                self.steps.push(Step::Calls(slot, calls));
                return count;
            }
            Kind::Auth => self.auth(slot),
            Kind::Unknown => {
                let check = (self.version == Version::V39).then_some(OpCode::Check.as_i32());
                let op = check.filter(|_| chance.percent(20)).unwrap_or_else(|| chance.pick(&UNKNOWN));
                let call = Call { op, body: Vec::new(), relative: None, xid: None };
                self.ending(slot, Step::Calls(slot, vec![call]));
            }
            Kind::Garbage => {
                let bytes = malformed::garbage(chance);
                self.ending(slot, Step::Garbage(slot, bytes));
            }
            Kind::Drop => {
                let call = self.calls.any(chance, slot);
                let bytes = malformed::half(chance, &call);
                self.ending(slot, Step::Drop(slot, bytes));
            }
            Kind::Connect => {
                let connect = connect(chance, How::TakeOver);
                self.steps.push(Step::Connect(slot, connect));
            }
            Kind::Handshake => self.steps.push(Step::Handshake(handshakes::any(chance))),
            Kind::Close => {
                let calls = if chance.percent(50) { self.calls.pipeline(chance, slot) } else { Vec::new() };
                let count = calls.len() + 1;
                self.ending(slot, Step::Close(slot, calls));
                return count;
            }
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
            (1, digest(b"")),
            (1, digest(b":")),
            (1, digest(b"a:b:c")),
            (1, digest("smile:\u{1f600}".as_bytes())),
            (1, digest(b"\xffmalformed:\xff")),
            (2, digest(b"super:admin")),
            (1, digest(b"super:guess")),
            (1, ("ip", None)),
            (1, ("ip", Some(b"127.0.0.1"))),
            (1, ("digest", None)),
            (1, ("world", Some(b"anyone"))),
            (1, ("auth", Some(b""))),
            (1, ("super", Some(b"admin"))),
            (1, ("sasl", Some(b"x"))),
            (1, ("x509", Some(b"CN=ann"))),
            (1, ("Digest", Some(b"ann:secret"))),
            (1, ("", Some(b""))),
            (1, ("nonsense", Some(b"x"))),
        ];
        let (scheme, auth) = self.chance.weighted(&credentials);
        let xid = if self.chance.percent(80) { Some(-4) } else { None };
        let request = Request::Auth { scheme: Some(scheme.into()), auth };
        let step = Step::Calls(slot, vec![Call { xid, ..Call::new(OpCode::Auth, &request) }]);
        if scheme != "ip" && (scheme != "digest" || auth.is_none()) {
            self.ending(slot, step);
        } else {
            self.steps.push(step);
        }
    }

    /// Sometimes fails to, first.
    fn reconnect(&mut self, slot: usize) {
        let failures = [How::WrongPassword, How::Unknown, How::Ahead];
        if self.chance.percent(15) {
            let how = self.chance.pick(&failures);
            let connect = connect(&mut self.chance, how);
            self.steps.push(Step::Connect(slot, connect));
        }
        let how = self.chance.weighted(&[(5, How::Resume), (2, How::New)]);
        let connect = connect(&mut self.chance, how);
        self.steps.push(Step::Connect(slot, connect));
        self.connected[slot] = true;
    }
}

fn connect(chance: &mut Chance, how: How) -> Connect {
    let (least, most) = TIMEOUTS_MS;
    let timeouts = [most, most, most, least, least + 1, most - 1, most + 1, i32::MAX, 1, 0, -1, i32::MIN];
    let read_only = chance.weighted(&[(6, Some(false)), (1, Some(true)), (2, None)]);
    Connect { how, timeout_ms: chance.pick(&timeouts), read_only }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_sequence() {
        let generate = |seed| generate(seed, 50, Version::V38);
        assert_eq!(generate(7), generate(7));
        assert_ne!(generate(7), generate(8));
    }
}
