//! Who the members are, and what a quorum of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade_wire::Sid;

/// What a member takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Votes.
    Participant,
    /// Only listens.
    Observer,
}

/// One listed server. Its first address counts where several are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub sid: Sid,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port of the learner protocol.
    pub quorum_port: u16,
    /// Port of the election.
    pub election_port: u16,
    /// Whether it votes.
    pub role: MemberRole,
    /// What was given behind `;`, for clients. Kept, not used.
    pub client: Option<String>,
}

/// A mistake in a configuration's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnsembleError {
    /// A line is not `key=value`, or its key is unknown.
    #[error("`{0}` is not understood: expected server.N=, group.N=, weight.N= or version=")]
    Line(String),
    /// A server's description cannot be read.
    #[error(
        "server.{sid}=`{spec}` is not understood: expected host:quorum-port:election-port[:participant|:observer][;client]"
    )]
    Server {
        /// Its id.
        sid: Sid,
        /// What stands there.
        spec: String,
    },
    /// The same server, group or weight twice, or a server in two groups.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// No participant is listed.
    #[error("no participant is listed")]
    NoVoter,
    /// With groups or weights, every participant must be in a group.
    #[error("server {0} votes but is in no group")]
    NoGroup(Sid),
    /// A group or weight names a server that is not listed.
    #[error("server {0} is named by a group or weight but not listed")]
    Unlisted(Sid),
    /// The weights leave no way to form a quorum.
    #[error("all weights are zero")]
    NoWeight,
}

/// How votes are counted (Apache `QuorumMaj`, `QuorumHierarchical`).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    Majority,
    Groups { groups: BTreeMap<i64, BTreeSet<Sid>>, weights: BTreeMap<Sid, u64> },
}

/// The members of an ensemble and its rule for quorums. At least one member votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    members: BTreeMap<Sid, Member>,
    voters: BTreeSet<Sid>,
    quorum: Quorum,
    version: i64,
}

impl Ensemble {
    /// An ensemble of these members, by majority of its participants, of version 0.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, EnsembleError> {
        let mut by_sid = BTreeMap::new();
        for member in members {
            let sid = member.sid;
            if by_sid.insert(sid, member).is_some() {
                return Err(EnsembleError::Twice(format!("server.{sid}")));
            }
        }
        Self::build(by_sid, Quorum::Majority, 0)
    }

    /// Reads a configuration's text: `server.N`, `group.N`, `weight.N` and `version` lines in any order, blank lines
    /// and `#` comments.
    pub fn parse(text: &str) -> Result<Self, EnsembleError> {
        let mut members = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut version = 0;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let bad = || EnsembleError::Line(line.to_owned());
            let (key, value) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim())).ok_or_else(bad)?;
            let twice = || EnsembleError::Twice(key.to_owned());
            let number = |prefix| key.strip_prefix(prefix).and_then(|n: &str| n.parse::<i64>().ok());
            if let Some(sid) = number("server.") {
                let member = Member::parse(sid, value)?;
                members.insert(sid, member).map_or(Ok(()), |_| Err(twice()))?;
            } else if let Some(group) = number("group.") {
                let sids = value.split(':').map(|s| s.trim().parse::<Sid>()).collect::<Result<_, _>>();
                groups.insert(group, sids.map_err(|_| bad())?).map_or(Ok(()), |_| Err(twice()))?;
            } else if let Some(sid) = number("weight.") {
                let weight = value.parse::<u32>().map_err(|_| bad())?;
                weights.insert(sid, u64::from(weight)).map_or(Ok(()), |_| Err(twice()))?;
            } else if key == "version" {
                version = i64::from_str_radix(value, 16).map_err(|_| bad())?;
            } else {
                return Err(bad());
            }
        }
        let quorum = if groups.is_empty() && weights.is_empty() {
            Quorum::Majority
        } else {
            Quorum::Groups { groups, weights }
        };
        Self::build(members, quorum, version)
    }

    fn build(members: BTreeMap<Sid, Member>, quorum: Quorum, version: i64) -> Result<Self, EnsembleError> {
        let voters = members
            .values()
            .filter(|m| m.role == MemberRole::Participant)
            .map(|m| m.sid)
            .collect::<BTreeSet<_>>();
        if voters.is_empty() {
            return Err(EnsembleError::NoVoter);
        }
        if let Quorum::Groups { groups, weights } = &quorum {
            let mut grouped = BTreeSet::new();
            for sid in groups.values().flatten() {
                if !grouped.insert(*sid) {
                    return Err(EnsembleError::Twice(format!("server {sid} in a group")));
                }
            }
            if let Some(sid) = grouped.iter().chain(weights.keys()).find(|s| !members.contains_key(s)) {
                return Err(EnsembleError::Unlisted(*sid));
            }
            if let Some(sid) = voters.iter().find(|s| !grouped.contains(s)) {
                return Err(EnsembleError::NoGroup(*sid));
            }
        }
        let ensemble = Self { members, voters, quorum, version };
        if !ensemble.has_quorum(&ensemble.voters) {
            return Err(EnsembleError::NoWeight);
        }
        Ok(ensemble)
    }

    /// All listed servers, ascending by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// A listed server.
    pub fn member(&self, sid: Sid) -> Option<&Member> {
        self.members.get(&sid)
    }

    /// The ids of those that vote, ascending.
    pub fn voters(&self) -> impl Iterator<Item = Sid> {
        self.voters.iter().copied()
    }

    /// Whether it votes.
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.voters.contains(&sid)
    }

    /// The configuration's version: 0, or the zxid of the reconfiguration that made it.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// How much a voter's vote weighs: 1 unless weights are configured; 0 can never be elected.
    pub fn weight(&self, sid: Sid) -> u64 {
        match &self.quorum {
            Quorum::Majority => u64::from(self.is_voter(sid)),
            Quorum::Groups { weights, .. } if self.is_voter(sid) => weights.get(&sid).copied().unwrap_or(1),
            Quorum::Groups { .. } => 0,
        }
    }

    /// Whether these servers form a quorum; those that do not vote are not counted.
    pub fn has_quorum(&self, sids: &BTreeSet<Sid>) -> bool {
        match &self.quorum {
            Quorum::Majority => 2 * self.voters.intersection(sids).count() > self.voters.len(),
            Quorum::Groups { groups, .. } => {
                let weigh = |members: &BTreeSet<Sid>, only: Option<&BTreeSet<Sid>>| -> u64 {
                    let counted = members.iter().filter(|s| only.is_none_or(|o| o.contains(s)));
                    counted.map(|s| self.weight(*s)).sum()
                };
                let weighty = groups.values().filter(|g| weigh(g, None) > 0);
                let (total, won) = weighty.fold((0, 0), |(total, won), g| {
                    (total + 1, won + usize::from(2 * weigh(g, Some(sids)) > weigh(g, None)))
                });
                2 * won > total
            }
        }
    }

    /// The configuration's text, as it stands in NEWLEADER: a line for each server, group and weight, then the version; no
    /// newline at the end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for member in self.members.values() {
            text.push_str(&member.line());
            text.push('\n');
        }
        if let Quorum::Groups { groups, weights } = &self.quorum {
            for (group, sids) in groups {
                let sids = sids.iter().map(Sid::to_string).collect::<Vec<_>>().join(":");
                let _infallible = writeln!(text, "group.{group}={sids}");
            }
            for (sid, weight) in weights {
                let _infallible = writeln!(text, "weight.{sid}={weight}");
            }
        }
        let _infallible = write!(text, "version={:x}", self.version);
        text
    }
}

impl Member {
    /// Reads what stands behind `server.N=`.
    pub fn parse(sid: Sid, spec: &str) -> Result<Self, EnsembleError> {
        Self::parse_spec(sid, spec).ok_or_else(|| EnsembleError::Server { sid, spec: spec.to_owned() })
    }

    fn parse_spec(sid: Sid, spec: &str) -> Option<Self> {
        let (addresses, client) = match spec.split_once(';') {
            Some((addresses, client)) => {
                (addresses, Some(client.trim().to_owned()).filter(|c| !c.is_empty()))
            }
            None => (spec, None),
        };
        let (rest, role) = match addresses.trim().rsplit_once(':') {
            Some((rest, role)) if role.eq_ignore_ascii_case("observer") => (rest, MemberRole::Observer),
            Some((rest, role)) if role.eq_ignore_ascii_case("participant") => (rest, MemberRole::Participant),
            _ => (addresses, MemberRole::Participant),
        };
        let mut parts = rest.trim().split('|').next()?.trim().rsplitn(3, ':');
        let election_port = parts.next()?.parse().ok()?;
        let quorum_port = parts.next()?.parse().ok()?;
        let host = parts.next()?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        if host.is_empty() {
            return None;
        }
        Some(Self { sid, host: host.to_owned(), quorum_port, election_port, role, client })
    }

    /// The line for the configuration's text.
    fn line(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let role = match self.role {
            MemberRole::Participant => "participant",
            MemberRole::Observer => "observer",
        };
        let client = self.client.as_ref().map(|c| format!(";{c}")).unwrap_or_default();
        format!("server.{}={host}:{}:{}:{role}{client}", self.sid, self.quorum_port, self.election_port)
    }
}

#[cfg(test)]
#[path = "ensemble_tests.rs"]
mod tests;
