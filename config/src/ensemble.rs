//! The member list, however it was written down.

use palisade_zab::{Ensemble, EnsembleError, Member, MemberRole};

use crate::mistake::Origin;
use crate::report::{Place, Report};

/// One `server.N`, `group.N`, `weight.N` or `version` setting.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

impl Line {
    /// How it is shown to the operator.
    pub(crate) fn place(&self) -> Place {
        Place { origin: self.origin.clone(), key: self.key.clone(), given: Some(self.value.clone()) }
    }
}

/// Stands where a list could not be read, so that the other settings can be judged all the same. Never started:
/// there is a mistake by then.
pub(crate) fn stand_in() -> Ensemble {
    let member = Member {
        sid: 1,
        host: "localhost".into(),
        quorum_port: 1,
        election_port: 2,
        role: MemberRole::Participant,
        client: None,
    };
    Ensemble::new([member]).expect("one participant is an ensemble")
}

/// The list that `lines` describe. What is wrong with them is reported at the line where it stands, or in `field`.
pub(crate) fn parse(lines: &[Line], report: &Report, field: &str) -> Ensemble {
    let mut readable = true;
    for line in lines {
        let Some(sid) = line.key.strip_prefix("server.") else { continue };
        let problem = match sid.parse() {
            Ok(sid) => Member::parse(sid, &line.value).err().map(|error| error.to_string()),
            Err(_) => Some("must be server.N, where N is the member's number".to_owned()),
        };
        if let Some(problem) = problem {
            readable = false;
            report.mistake_in(field, line.place(), problem);
        }
    }
    if !readable || lines.is_empty() {
        return stand_in();
    }
    let text: String = lines.iter().map(|line| format!("{}={}\n", line.key, line.value)).collect();
    match Ensemble::parse(&text) {
        Ok(ensemble) => {
            warn_about_size(&ensemble, lines, report);
            ensemble
        }
        Err(error) => {
            report.mistake_in(field, at_fault(&error, lines).place(), error.to_string());
            stand_in()
        }
    }
}

/// The line that an error is about: the one it names, else the last one.
fn at_fault<'a>(error: &EnsembleError, lines: &'a [Line]) -> &'a Line {
    let named = |line: &&Line| match error {
        EnsembleError::Twice(key) => line.key == *key,
        EnsembleError::Line(text) => *text == format!("{}={}", line.key, line.value),
        EnsembleError::NoGroup(sid) => line.key == format!("server.{sid}"),
        EnsembleError::Unlisted(sid) => {
            line.key == format!("weight.{sid}")
                || (line.key.starts_with("group.")
                    && line.value.split(':').any(|s| s.trim() == sid.to_string()))
        }
        _ => false,
    };
    let last = lines.len() - 1;
    lines.iter().rev().find(named).unwrap_or(&lines[last])
}

/// The warnings of Apache's `QuorumPeerConfig.parseDynamicConfig`.
fn warn_about_size(ensemble: &Ensemble, lines: &[Line], report: &Report) {
    let voters = ensemble.voters().count();
    let why = match voters {
        1 => "one voter: none may fail; three survive the loss of one".to_owned(),
        2 => "two voters: none may fail; three survive the loss of one".to_owned(),
        _ if voters.is_multiple_of(2) => {
            format!("{voters} voters: one less would survive the loss of as many")
        }
        _ => return,
    };
    if let Some(line) = lines.first() {
        let place = Place { origin: line.origin.clone(), key: "members".into(), given: None };
        report.warning(place, why);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::mistake::{ConfigError, Mistake};

    fn read(settings: &[(&str, &str)]) -> Result<(Ensemble, Vec<Mistake>), Vec<Mistake>> {
        let report = Report::new(Path::new("f"));
        let lines: Vec<Line> = (1..)
            .zip(settings)
            .map(|(n, (key, value))| Line {
                key: (*key).into(),
                value: (*value).into(),
                origin: report.origin(Some(n)),
            })
            .collect();
        let ensemble = parse(&lines, &report, "ensemble");
        match report.finish(Some(ensemble)) {
            Ok(loaded) => Ok((loaded.config, loaded.warnings)),
            Err(ConfigError::Invalid { mistakes, .. }) => Err(mistakes),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_bad_line_is_reported_at_its_place() {
        let mistakes =
            read(&[("server.1", "a:1:2"), ("server.x", "b:1:2"), ("server.3", "c:1")]).unwrap_err();
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].starts_with("f:2: server.x = b:1:2: must be server.N"), "{}", shown[0]);
        assert!(shown[1].starts_with("f:3: server.3 = c:1: "), "{}", shown[1]);
    }

    #[test]
    fn what_concerns_several_lines_is_reported_at_the_guilty_one() {
        let members = [("server.1", "a:1:2"), ("server.2", "b:1:2"), ("server.3", "c:1:2")];
        let with = |more: &[(&'static str, &'static str)]| {
            let all: Vec<_> = members.iter().chain(more).copied().collect();
            read(&all).unwrap_err().remove(0).to_string()
        };
        assert!(with(&[("group.1", "1:2:9")]).starts_with("f:4: group.1"));
        assert!(with(&[("group.1", "1:2")]).starts_with("f:3: server.3"));
        assert!(with(&[("group.1", "1:2:3"), ("weight.9", "1")]).starts_with("f:5: weight.9"));
        assert!(with(&[("server.2", "d:1:2")]).starts_with("f:4: server.2"));
    }

    #[test]
    fn fragile_ensembles_are_warned_about() {
        let all =
            [("server.1", "a:1:2"), ("server.2", "b:1:2"), ("server.3", "c:1:2"), ("server.4", "d:1:2")];
        for (count, warnings) in [(1, 1), (2, 1), (3, 0), (4, 1)] {
            assert_eq!(read(&all[..count]).unwrap().1.len(), warnings, "{count}");
        }
    }
}
