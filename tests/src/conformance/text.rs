//! Replies and events as text that is the same for every server: zxids and session ids in the order of their
//! appearance, no times, unordered lists sorted.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use palisade_wire::multi::MultiHeader;
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::Request;
use palisade_wire::{Acl, DecodeError, Id, OpCode, Reader, SessionId, Stat, Zxid};

use super::step::{Call, ROOT};
use super::targets::Kind;
use super::{Version, View};

/// Data of more bytes is not shown.
const LARGE: usize = 1000;
/// In place of a time before the sequence: long ago.
const SOME_TIME_MS: i64 = 1;
/// How the line of an event begins.
pub(super) const EVENT: &str = "event";

type Result<T> = std::result::Result<T, DecodeError>;

/// What appeared so far in one run.
#[derive(Debug)]
pub(super) struct Names {
    kind: Kind,
    root: String,
    /// The zxid with which the sequence begins. What is older may be seen by one server's client only: the rule on
    /// exists.
    start: i64,
    zxids: HashMap<i64, usize>,
    sessions: HashMap<SessionId, usize>,
}

impl Names {
    /// Of a run in the folder `root`.
    pub(super) fn new(kind: Kind, root: &str) -> Self {
        Self { kind, root: root.to_owned(), start: 0, zxids: HashMap::new(), sessions: HashMap::new() }
    }

    /// From now on, what is older than `zxid` has no number.
    pub(super) fn start_at(&mut self, zxid: i64) {
        self.start = zxid;
    }

    /// A zxid's number; those that are no transaction's stay.
    pub(super) fn zxid(&mut self, zxid: Zxid) -> String {
        if zxid.0 <= 0 {
            return zxid.0.to_string();
        }
        if zxid.0 < self.start {
            return "older".to_owned();
        }
        let next = self.zxids.len();
        format!("z{}", self.zxids.entry(zxid.0).or_insert(next))
    }

    /// A session's number.
    pub(super) fn session(&mut self, session: SessionId) -> String {
        if session == 0 {
            return "0".to_owned();
        }
        let next = self.sessions.len();
        format!("s{}", self.sessions.entry(session).or_insert(next))
    }

    /// The numbers of all zxids from the smallest to the largest: that two servers' zxids have the same order.
    pub(super) fn order(&self) -> String {
        let mut zxids: Vec<_> = self.zxids.iter().collect();
        zxids.sort();
        format!("{:?}", zxids.into_iter().map(|(_, number)| number).collect::<Vec<_>>())
    }

    /// An event.
    pub(super) fn event(&mut self, header: &ReplyHeader, body: &[u8]) -> String {
        // The rule on event zxids.
        let zxid = match self.kind.version {
            Version::V38 => "a zxid".to_owned(),
            Version::V39 => self.zxid(header.zxid),
        };
        let fields = |mut r: Reader<'_>| -> Result<String> {
            Ok(format!("type {} state {} {:?}", r.i32("type")?, r.i32("state")?, r.opt_string("path")?))
        };
        let text = fields(Reader::new(body)).unwrap_or_else(|error| error.to_string());
        self.unrooted(&format!("{EVENT} {zxid} {:?} {text}", header.err))
    }

    /// The reply to `call`, whose zxid does not matter if there may be `any`.
    pub(super) fn reply(&mut self, call: &Call, any: bool, header: &ReplyHeader, body: &[u8]) -> String {
        // The rules on malformed writes and on reconfigurations.
        let any = any || self.kind.may_spare_its_zxid(call);
        let zxid = if any { "a zxid".to_owned() } else { self.zxid(header.zxid) };
        let text = self.body(call, header, body).unwrap_or_else(|error| {
            let body = body.escape_ascii();
            format!("a body that is none ({error}): {body}")
        });
        self.unrooted(format!("{zxid} {:?} {text}", header.err).trim_end())
    }

    /// With the root's name, and with two characters for one that Java cannot write: the rule on surrogates.
    fn unrooted(&self, text: &str) -> String {
        text.replace(&self.root, ROOT).replace(|char| char > '\u{ffff}', "\u{fffd}\u{fffd}")
    }

    fn body(&mut self, call: &Call, header: &ReplyHeader, body: &[u8]) -> Result<String> {
        let mut r = Reader::new(body);
        let mut text = match OpCode::from_i32(call.op) {
            Some(op) if header.err.is_ok() => self.fields(op, call, &mut r)?,
            // The rule on multiReads that fail as a whole.
            Some(OpCode::MultiRead) => return Ok(String::new()),
            _ => String::new(),
        };
        if !r.is_empty() {
            text += &format!(" and {} more bytes", r.rest().len());
        }
        Ok(text)
    }

    fn fields(&mut self, op: OpCode, call: &Call, r: &mut Reader<'_>) -> Result<String> {
        Ok(match op {
            OpCode::Create | OpCode::Sync => format!("{:?}", r.opt_string("path")?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                format!("{:?} {}", r.opt_string("path")?, self.stat(r)?)
            }
            OpCode::Exists if self.kind.version == Version::V38 => self.stat_of_any(r)?,
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => self.stat(r)?,
            OpCode::GetData => format!("{} {}", data(r)?, self.stat(r)?),
            OpCode::GetAcl => format!("{:?} {}", r.vec("acl", Acl::decode)?, self.stat(r)?),
            OpCode::GetChildren | OpCode::GetEphemerals => names(r)?,
            OpCode::GetChildren2 => format!("{} {}", names(r)?, self.stat(r)?),
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => r.i32("number")?.to_string(),
            OpCode::WhoAmI => sorted(r.vec("ids", Id::decode)?),
            OpCode::Sasl => data(r)?,
            OpCode::Multi | OpCode::MultiRead => self.results(call, r)?,
            _ => String::new(),
        })
    }

    fn results(&mut self, call: &Call, r: &mut Reader<'_>) -> Result<String> {
        let asked = match call.request() {
            Some(Request::Multi(asked) | Request::MultiRead(asked)) => asked,
            _ => Vec::new(),
        };
        let mut results = Vec::new();
        loop {
            let header = MultiHeader::decode(r)?;
            if header.done {
                return Ok(format!("{results:?} {header:?}"));
            }
            let asked = asked.get(results.len()).map(|(op, _)| *op);
            results.push(self.result(asked, header, r)?);
        }
    }

    fn result(&mut self, asked: Option<OpCode>, header: MultiHeader, r: &mut Reader<'_>) -> Result<String> {
        let Some(op) = OpCode::from_i32(header.op).filter(|_| header.op >= 0) else {
            return Ok(format!("error {} {}", header.err, r.i32("err")?));
        };
        let body = match op {
            OpCode::GetData => format!("{} {}", data(r)?, self.stat(r)?),
            OpCode::GetChildren => names(r)?,
            OpCode::Create => format!("{:?}", r.opt_string("path")?),
            OpCode::Create2 => {
                let path = format!("{:?}", r.opt_string("path")?);
                let stat = self.stat(r)?;
                // The rule on create2 within a multi.
                if asked == Some(OpCode::Create2) && self.kind.version == Version::V38 {
                    return Ok(format!("Create {} {path}", header.err));
                }
                format!("{path} {stat}")
            }
            OpCode::SetData => self.stat(r)?,
            _ => String::new(),
        };
        Ok(format!("{op:?} {} {body}", header.err))
    }

    /// A Stat that the other servers may not show: the rule on exists. What was not seen before gets no number by it.
    fn stat_of_any(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let stat = Stat::decode(&mut r.clone())?;
        let is_seen = |zxid: &Zxid| zxid.0 < self.start || self.zxids.contains_key(&zxid.0);
        if [stat.czxid, stat.mzxid, stat.pzxid].iter().all(is_seen) {
            return self.stat(r);
        }
        Stat::decode(r)?;
        Ok("[of a transaction that was not seen]".to_owned())
    }

    /// The rule on znodes that are there from the beginning: what was made at no time was made before the sequence.
    fn bear(&self, stat: &mut Stat) {
        for (zxid, time) in [(&mut stat.czxid, &mut stat.ctime), (&mut stat.mzxid, &mut stat.mtime)] {
            if zxid.0 < self.start {
                (*zxid, *time) = (Zxid(self.start - 1), SOME_TIME_MS);
            }
        }
        stat.pzxid = stat.pzxid.max(Zxid(self.start - 1));
    }

    fn stat(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let mut stat = Stat::decode(r)?;
        if self.kind.view == View::Part {
            self.bear(&mut stat);
        }
        Ok(format!(
            "[c {} {} m {} {} p {} v {} cv {} av {} owner {} bytes {} children {}]",
            self.zxid(stat.czxid),
            time(stat.ctime, stat.ctime),
            self.zxid(stat.mzxid),
            time(stat.ctime, stat.mtime),
            self.zxid(stat.pzxid),
            stat.version,
            stat.cversion,
            stat.aversion,
            self.session(stat.ephemeral_owner),
            stat.data_length,
            stat.num_children,
        ))
    }
}

/// As seen from a time not after it.
fn time(earlier: i64, millis: i64) -> &'static str {
    let is_now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        now.abs_diff(u128::from(millis.unsigned_abs())) < 24 * 3_600_000
    };
    match millis {
        0 => "never",
        _ if millis < earlier => "before",
        _ if is_now() => "then",
        _ => "another day",
    }
}

fn data(r: &mut Reader<'_>) -> Result<String> {
    Ok(match r.opt_buffer("data")? {
        None => "null".to_owned(),
        Some(data) if data.len() > LARGE => {
            let mut hasher = DefaultHasher::new();
            hasher.write(data);
            format!("{} bytes with the hash {:x}", data.len(), hasher.finish())
        }
        Some(data) => format!("\"{}\"", data.escape_ascii()),
    })
}

fn names(r: &mut Reader<'_>) -> Result<String> {
    Ok(sorted(r.vec("names", |r| r.opt_string("name"))?))
}

fn sorted<T: Ord + Debug>(mut list: Vec<T>) -> String {
    list.sort();
    format!("{list:?}")
}
