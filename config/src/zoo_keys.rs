//! What Palisade does with the keys of Apache's `zoo.cfg` that it cannot act upon.

/// Keys that ask for something a voter does not do, and why ignoring them is safe.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("clientPort", CLIENTS),
    ("clientPortAddress", CLIENTS),
    ("secureClientPort", CLIENTS),
    ("secureClientPortAddress", CLIENTS),
    ("clientPortListenBacklog", CLIENTS),
    ("maxClientCnxns", CLIENTS),
    ("localSessionsUpgradingEnabled", "has no effect on a voter: gateways decide about their sessions"),
    ("observerMasterPort", "is not served: gateways dial the leader"),
    ("reconfigEnabled", "has no effect: this version does not change members at run time"),
    ("standaloneEnabled", "has no effect: a single voter is an ensemble of one"),
    ("syncEnabled", "has no effect on a voter"),
    ("connectToLearnerMasterLimit", "has no effect: initLimit counts"),
    ("quorum.cnxn.threads.size", "has no effect: there are no connection threads"),
    ("admin.enableServer", ADMIN),
    ("admin.serverPort", ADMIN),
    ("admin.serverAddress", ADMIN),
    ("4lw.commands.whitelist", "has no effect: the commands that a voter answers are harmless"),
    ("jute.maxbuffer", "has no effect here, nor in Apache's server; use TOML: [limits] jute_max_buffer"),
];

const CLIENTS: &str =
    "is not served: clients connect to gateways; give this address to one as [client] address";
const ADMIN: &str = "is not served: for a monitoring port use --admin-address";

/// Keys whose effect cannot be left out: with these values a voter would be less safe than its operator thinks,
/// or could not talk to its peers.
const REFUSED_IF_TRUE: &[&str] = &[
    "sslQuorum",
    "portUnification",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
];

/// What becomes of a key that [`crate::zoo_cfg`] does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Reported, and that is all.
    Warn(&'static str),
    /// The voter must not start.
    Refuse(&'static str),
    /// It says what Palisade does anyway.
    Nothing,
}

/// Decides about one key.
pub(crate) fn fate(key: &str, value: &str) -> Fate {
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == key) {
        return Fate::Warn(why);
    }
    if REFUSED_IF_TRUE.contains(&key) {
        return match value.to_ascii_lowercase().as_str() {
            "false" => Fate::Nothing,
            _ => Fate::Refuse("this version speaks plain TCP between servers; must be false"),
        };
    }
    match key {
        "electionAlg" if value == "3" => Fate::Nothing,
        "electionAlg" => Fate::Refuse("must be 3, the only election that Apache 3.6 and later know"),
        "oraclePath" => Fate::Refuse("an oracle changes what a quorum is; this version has none"),
        "peerType" if value.eq_ignore_ascii_case("participant") => Fate::Nothing,
        "peerType" => Fate::Refuse("must be participant: a server that does not vote is a gateway here"),
        _ => Fate::Warn("is not a key that Palisade knows; it has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weakens_a_voter_is_refused_and_the_rest_is_told() {
        assert!(matches!(fate("clientPort", "2181"), Fate::Warn(why) if why.contains("gateways")));
        assert!(matches!(fate("sslQuorum", "TRUE"), Fate::Refuse(_)));
        assert_eq!(fate("sslQuorum", "False"), Fate::Nothing);
        assert!(matches!(fate("peerType", "observer"), Fate::Refuse(_)));
        assert!(matches!(fate("electionAlg", "0"), Fate::Refuse(_)));
        assert!(matches!(fate("colour", "blue"), Fate::Warn(why) if why.contains("not a key")));
    }
}
