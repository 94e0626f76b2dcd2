use std::collections::BTreeSet;

use super::*;

/// As a 3.8.0 follower prints it.
const TEXT: &str = "server.1=127.0.0.1:21861:21871:participant;0.0.0.0:21851\n\
    server.2=[::1]:21862:21872:participant\nserver.3=zoo:21863:21873:observer\nversion=100000000";

fn sids(sids: &[Sid]) -> BTreeSet<Sid> {
    sids.iter().copied().collect()
}

#[test]
fn the_text_round_trips() {
    let ensemble = Ensemble::parse(TEXT).unwrap();
    assert_eq!(ensemble.to_text(), TEXT);
    assert_eq!(ensemble.version(), 0x1_0000_0000);
    assert_eq!(ensemble.voters().collect::<Vec<_>>(), [1, 2]);
    let member = ensemble.member(2).unwrap();
    assert_eq!((member.host.as_str(), member.quorum_port, member.election_port), ("::1", 21862, 21872));
    assert_eq!(ensemble.member(1).unwrap().client.as_deref(), Some("0.0.0.0:21851"));
}

#[test]
fn roles_are_optional_and_order_and_comments_do_not_matter() {
    let text = " # members\nversion=0\n\nserver.2 = b:1:2 ; 2181\nserver.1=a:1:2|c:3:4:PARTICIPANT\n";
    let ensemble = Ensemble::parse(text);
    let ensemble = ensemble.unwrap();
    assert!(ensemble.is_voter(2));
    assert_eq!(ensemble.member(2).unwrap().client.as_deref(), Some("2181"));
}

#[test]
fn mistakes_are_named() {
    let table = [
        ("server.1=a:1:2\ntickTime=1", EnsembleError::Line("tickTime=1".into())),
        ("server.1=a:1", EnsembleError::Server { sid: 1, spec: "a:1".into() }),
        ("server.1=::1:1:2", EnsembleError::Server { sid: 1, spec: "::1:1:2".into() }),
        ("server.1=a:1:2\nserver.1=b:1:2", EnsembleError::Twice("server.1".into())),
        ("server.1=a:1:2:observer", EnsembleError::NoVoter),
        ("server.1=a:1:2\nserver.2=a:1:2\ngroup.1=1", EnsembleError::NoGroup(2)),
        ("server.1=a:1:2\ngroup.1=1:2", EnsembleError::Unlisted(2)),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=0", EnsembleError::NoWeight),
    ];
    for (text, error) in table {
        assert_eq!(Ensemble::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_majority_of_voters_is_a_quorum() {
    // (voters, how many agree, quorum)
    for (n, agree, expected) in [(1, 1, true), (2, 1, false), (3, 2, true), (4, 2, false), (5, 3, true)] {
        let lines = (1..=n).map(|sid| format!("server.{sid}=h:1:2\n")).collect::<String>();
        let ensemble = Ensemble::parse(&lines).unwrap();
        assert_eq!(ensemble.has_quorum(&(1..=agree).collect()), expected, "{agree} of {n}");
    }
    let ensemble = Ensemble::parse("server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2:observer").unwrap();
    assert!(!ensemble.has_quorum(&sids(&[1, 3, 9])), "only voters count");
}

#[test]
fn groups_need_a_majority_of_weight_in_a_majority_of_groups() {
    let servers = (1..=9).map(|sid| format!("server.{sid}=h:1:2\n")).collect::<String>();
    let text =
        format!("{servers}group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nweight.9=0\nweight.8=0\nweight.7=0");
    let ensemble = Ensemble::parse(&text).unwrap();
    assert!(!ensemble.has_quorum(&sids(&[1, 2, 7, 8, 9])), "the weightless group does not count");
    assert!(ensemble.has_quorum(&sids(&[1, 2, 5, 6])));
    assert!(!ensemble.has_quorum(&sids(&[1, 2, 3, 6])));
    assert_eq!((ensemble.weight(1), ensemble.weight(9), ensemble.weight(77)), (1, 0, 0));
}
