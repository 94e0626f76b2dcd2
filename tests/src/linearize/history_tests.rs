use super::*;

fn history(lines: &[&str]) -> History {
    let parse = |(number, line): (usize, &&str)| {
        let (begin, end) = (10 * number, 10 * number + 5);
        serde_json::from_str(&format!(r#"{{"client":1,"key":"/k","begin":{begin},"end":{end},{line}}}"#))
            .unwrap()
    };
    History { records: lines.iter().enumerate().map(parse).collect() }
}

#[track_caller]
fn assert_wrong(lines: &[&str], wanted: &str) {
    let error = history(lines).check().unwrap_err();
    assert!(error.contains(wanted), "{error}");
}

const WROTE_A: &str = r#""operation":"write","result":"ok","value":"a","version":1,"mzxid":7"#;
const CREATED: &str = r#""operation":"create","result":"ok","value":"c","created":"/k/c-0""#;
const FOUND: &str = r#""operation":"found","result":"ok","value":"c","created":"/k/c-0""#;

#[test]
fn a_correct_history() {
    let history = history(&[
        WROTE_A,
        r#""operation":"read","result":"ok","value":"a","version":1,"mzxid":7"#,
        r#""operation":"compare_and_set","result":"bad_version","value":"b","expected":0"#,
        r#""operation":"compare_and_set","result":"unknown","value":"c","expected":1"#,
        r#""operation":"read","result":"unknown""#,
        r#""operation":"stale_read","result":"ok","value":"c","version":2,"mzxid":9"#,
        CREATED,
        r#""operation":"create","result":"unknown","value":"d""#,
        r#""operation":"create","result":"unknown","value":"e""#,
        FOUND,
        r#""operation":"found","result":"ok","value":"d","created":"/k/d-1""#,
    ]);
    history.check().unwrap();
    assert_eq!(history.acknowledged(), 2);
}

#[test]
fn a_register_that_forgets() {
    assert_wrong(
        &[WROTE_A, r#""operation":"read","result":"ok","value":"","version":0,"mzxid":1"#],
        "not linearizable",
    );
}

#[test]
fn a_session_that_goes_back() {
    assert_wrong(
        &[WROTE_A, r#""operation":"stale_read","result":"ok","value":"","version":0,"mzxid":1"#],
        "went back",
    );
}

#[test]
fn answers_that_disagree() {
    assert_wrong(
        &[WROTE_A, r#""operation":"stale_read","result":"ok","value":"x","version":1,"mzxid":7"#],
        "before",
    );
    assert_wrong(
        &[WROTE_A, r#""operation":"write","result":"ok","value":"b","version":2,"mzxid":7"#],
        "not above",
    );
}

#[test]
fn created_and_lost() {
    assert_wrong(&[CREATED], "is lost");
    assert_wrong(&[CREATED, &FOUND.replace("c-0", "c-1")], "is lost");
    assert_wrong(&[CREATED, FOUND, FOUND], "two znodes");
    assert_wrong(&[FOUND], "nobody created");
}
