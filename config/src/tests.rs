//! Whole files: good ones, and bad ones in every way that has a message of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_gateway::throttle::config::Throttle;
use tempfile::TempDir;

use super::*;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A `zoo.cfg` with `lines` added to what every voter needs, and `myid`.
    fn zoo(&self, lines: &str) -> PathBuf {
        self.write("myid", "2\n");
        let needed = format!("dataDir={}\ninitLimit=10\nsyncLimit=5\n", self.path().display());
        let servers: String = (1..4).map(|n| format!("server.{n}=h{n}:2888:3888\n")).collect();
        self.write("zoo.cfg", format!("{needed}{servers}{lines}"))
    }

    /// The messages about `path`, without the folder.
    fn messages(&self, error: &ConfigError) -> Vec<String> {
        let ConfigError::Invalid { mistakes, .. } = error else { panic!("{error}") };
        let folder = format!("{}/", self.path().display());
        mistakes.iter().map(|m| m.to_string().replace(&folder, "")).collect()
    }
}

fn core(path: &Path) -> Result<Loaded<palisade_server::Config>, ConfigError> {
    load_core(path, &CoreOverrides::default())
}

fn gateway(path: &Path) -> Result<Loaded<palisade_gateway::Config>, ConfigError> {
    load_gateway(path, &GatewayOverrides::default())
}

#[test]
fn the_voter_example_shows_the_defaults() {
    let loaded = core(&example("voter.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let given = loaded.config;
    let mut expected = palisade_server::Config::new(1, given.ensemble.clone(), "/var/lib/palisade/voter");
    expected.bind.admin = Some("127.0.0.1:8181".parse().unwrap());
    assert_eq!(format!("{given:?}"), format!("{expected:?}"));
}

#[test]
fn the_gateway_example_shows_the_defaults() {
    let loaded = gateway(&example("gateway.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let mut expected = palisade_gateway::Config { id: 101, ..Default::default() };
    expected.tenant.name = "discovery".into();
    expected.core.voters = (1..4).map(|n| format!("zk{n}.example.org:2888")).collect();
    expected.storage.data_dir = "/var/lib/palisade/discovery".into();
    expected.admin.address = Some("127.0.0.1:8182".into());
    assert_eq!(loaded.config, expected);
}

#[test]
fn gateways_have_weights_and_what_is_none_is_refused() {
    let folder = Folder::new();
    let with = |weights: &str| {
        let example = fs::read_to_string(example("voter.toml")).unwrap();
        folder.write("voter.toml", example.replace("weights = {}", weights))
    };
    let voter = core(&with("weights = { 101 = 4, 102 = 2 }")).unwrap().config;
    assert_eq!(voter.fairness.weights, [(101, 4), (102, 2)].into());
    let text = fs::read_to_string(example("voter.toml")).unwrap();
    let text = text.replace("together_with = {}", "together_with = { 102 = 101 }");
    let voter = core(&folder.write("voter.toml", text)).unwrap().config;
    assert_eq!(voter.fairness.together_with, [(102, 101)].into());
    for (wrong, told) in [
        ("weights = { discovery = 4 }", "[fairness] weights = { discovery = 4 }: must be pairs"),
        ("weights = { 101 = 0 }", "[fairness] weights = { 101 = 0 }: 101 = 0: give a gateway's id"),
    ] {
        let messages = folder.messages(&core(&with(wrong)).unwrap_err());
        assert!(messages.len() == 1 && messages[0].contains(told), "{messages:?}");
    }
}

#[test]
fn the_zoo_cfg_example_is_read_with_its_myid() {
    let folder = Folder::new();
    folder.write("myid", "3\n");
    let overrides = CoreOverrides { data_dir: Some(folder.path().into()), admin_address: None };
    let loaded = load_core(&example("zoo.cfg"), &overrides).unwrap();
    assert_eq!(loaded.config.sid, 3);
    assert_eq!(loaded.config.storage.data_dir, folder.path());
    assert_eq!(loaded.config.timing.tick, Duration::from_secs(2));
    assert_eq!(loaded.config.storage.purge_interval, Some(Duration::from_secs(24 * 3600)));
    let warnings: Vec<_> = loaded.warnings.iter().map(|w| (&*w.key, &*w.problem)).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].0, "clientPort");
    assert!(warnings[0].1.contains("not served: clients connect to gateways"));
}

#[test]
fn zoo_cfg_has_apaches_defaults() {
    let folder = Folder::new();
    let config = core(&folder.zoo("")).unwrap().config;
    assert_eq!(config.timing.tick, Duration::from_millis(3000));
    assert_eq!(config.min_session_timeout(), Duration::from_millis(6000));
    assert_eq!(config.max_session_timeout(), Duration::from_millis(60_000));
    assert_eq!(config.log_dir(), folder.path());
    assert_eq!(config.storage.snap_count, 100_000);
    assert_eq!(config.storage.log_preallocation, 65_536 * 1024);
    assert_eq!(config.storage.purge_interval, None);
    assert!(config.storage.force_sync);
    assert!(!config.sessions.local && !config.sessions.extended_types);
    assert!(config.bind.quorum.is_none());
}

#[test]
fn every_key_of_zoo_cfg_takes_effect() {
    let folder = Folder::new();
    let loaded = core(&folder.zoo(
        "dataLogDir = /logs\nforceSync no\nsnapCount:7\nsnapSizeLimitInKb=2048\npreAllocSize=16\n\
         autopurge.snapRetainCount=5\nautopurge.purgeInterval=90m\ncommitLogCount=900\ncnxTimeout=700\n\
         tickTime=\\u00310\\\n  0\nminSessionTimeout=-1\nmaxSessionTimeout=5000\nextendedTypesEnabled=TRUE\n\
         localSessionsEnabled=true\nznode.container.checkIntervalMs=100\nznode.container.maxPerMinute=3\nenforceQuota=true\nquorumListenOnAllIPs=true\n",
    ))
    .unwrap();
    let config = loaded.config;
    assert_eq!(loaded.warnings, []);
    assert_eq!(config.log_dir(), Path::new("/logs"));
    assert!(!config.storage.force_sync);
    assert_eq!(config.storage.snap_count, 7);
    assert_eq!(config.storage.snap_size_limit, 2 << 20);
    assert_eq!(config.storage.log_preallocation, 16 << 10);
    assert_eq!(config.storage.purge_retain, 5);
    assert_eq!(config.storage.purge_interval, Some(Duration::from_secs(90 * 60)));
    assert_eq!(config.limits.commit_log_count, 900);
    assert!(config.limits.enforce_quota);
    assert_eq!(config.timing.connect_timeout, Duration::from_millis(700));
    assert_eq!(config.timing.tick, Duration::from_millis(100));
    assert_eq!(config.sessions.min_timeout, None);
    assert_eq!(config.sessions.max_timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.sessions.container_check_interval, Duration::from_millis(100));
    assert_eq!(config.sessions.container_max_per_minute, 3);
    assert!(config.sessions.extended_types && config.sessions.local);
    assert_eq!(config.bind.quorum, Some("0.0.0.0:2888".parse().unwrap()));
    assert_eq!(config.bind.election, Some("0.0.0.0:3888".parse().unwrap()));
}

#[test]
fn zoo_cfg_tells_all_mistakes_at_once() {
    let folder = Folder::new();
    folder.write("myid", "2 \n");
    let text = format!(
        "dataDir={}\ntickTime=fast\ninitLimit=10\nsslQuorum=true\nserver.1=a:1\nserver.2=b:1:2\n\
         minSessionTimeout=9\nmaxSessionTimeout=8\nextendedTypesEnabled=yes\n",
        folder.path().display()
    );
    let error = core(&folder.write("zoo.cfg", text)).unwrap_err();
    let messages = folder.messages(&error);
    let starts = [
        "zoo.cfg:2: tickTime = fast: must be a whole number of milliseconds",
        "zoo.cfg:4: sslQuorum = true: ",
        "zoo.cfg:5: server.1 = a:1: ",
        "zoo.cfg:7: minSessionTimeout = 9: ",
        "zoo.cfg:9: extendedTypesEnabled = yes: must be true or false",
        "zoo.cfg: syncLimit: is missing",
        "myid:1: myid = 2 : must be a whole number",
    ];
    assert_eq!(messages.len(), starts.len(), "{messages:#?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}\n{start}");
    }
    assert!(error.to_string().starts_with("7 mistakes in the configuration "));
}

#[test]
fn without_myid_or_members_a_voter_does_not_start() {
    let folder = Folder::new();
    let text = format!("dataDir={}\ninitLimit=1\nsyncLimit=1\n", folder.path().display());
    let messages = folder.messages(&core(&folder.write("zoo.cfg", text)).unwrap_err());
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("zoo.cfg: server.N: is missing"));
    assert!(messages[1].starts_with("myid: myid: cannot be read"));
}

#[test]
fn a_voter_must_be_a_participant_of_its_own_list() {
    let folder = Folder::new();
    let path = folder.zoo("");
    folder.write("myid", "4\n");
    let messages = folder.messages(&core(&path).unwrap_err());
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].starts_with("myid:1: myid = 4: "), "{messages:?}");

    // But not if the list itself is wrong.
    let path = folder.zoo("server.5=nonsense\n");
    folder.write("myid", "4\n");
    let messages = folder.messages(&core(&path).unwrap_err());
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("server.5 = nonsense"), "{messages:?}");
}

#[test]
fn unknown_and_repeated_keys_of_zoo_cfg_are_only_warned_about() {
    let folder = Folder::new();
    let loaded = core(&folder.zoo("colour=blue\ntickTime=1\ntickTime=1000\nsnapCount=1\n")).unwrap();
    assert_eq!(loaded.config.timing.tick, Duration::from_secs(1));
    assert_eq!(loaded.config.storage.snap_count, 2);
    let keys: Vec<_> = loaded.warnings.iter().map(|w| &*w.key).collect();
    assert_eq!(keys, ["tickTime", "snapCount", "colour"]);
}

#[test]
fn members_may_stand_in_a_dynamic_file() {
    let folder = Folder::new();
    folder.write("myid", "1");
    let dynamic = folder.write("zoo.cfg.dynamic.100000000", "server.1=a:1:2:participant;0.0.0.0:2181\n");
    let text = |more: &str| {
        let dir = folder.path().display();
        format!("dataDir={dir}\ninitLimit=1\nsyncLimit=1\ndynamicConfigFile={}\n{more}", dynamic.display())
    };
    let config = core(&folder.write("zoo.cfg", text(""))).unwrap().config;
    assert!(format!("{:?}", config.ensemble).contains("2181"));

    let both = core(&folder.write("zoo.cfg", text("server.1=b:1:2\n"))).unwrap_err();
    assert!(folder.messages(&both)[0].starts_with("zoo.cfg:5: server.1 = b:1:2: must stand in the dynamic"));

    folder.write("zoo.cfg.dynamic.100000000", "server.1=a:1:2\ntickTime=5\n");
    let foreign = core(&folder.write("zoo.cfg", text(""))).unwrap_err();
    assert!(folder.messages(&foreign)[0].starts_with("zoo.cfg.dynamic.100000000:2: tickTime = 5: may not"));

    fs::remove_file(&dynamic).unwrap();
    let gone = core(&folder.write("zoo.cfg", text(""))).unwrap_err();
    assert!(folder.messages(&gone)[0].starts_with("zoo.cfg:4: dynamicConfigFile = "));
}

#[test]
fn toml_tells_all_mistakes_at_once() {
    let folder = Folder::new();
    let path = folder.write(
        "gateway.toml",
        "id = 0\n[tennant]\nname = \"x\"\n[client]\nadress = \"a:1\"\naddress = 5\n[core]\n\
         voters = [\"a:1\",\n 7]\nsync_timeout = \"soon\"\n[sessions]\nmin_timeout = \"1h\"\nlocal = \"no\"\n",
    );
    let messages = folder.messages(&gateway(&path).unwrap_err());
    let starts = [
        "gateway.toml:1: id = 0: ",
        "gateway.toml:2: tennant: unknown key; did you mean \"tenant\"?",
        "gateway.toml:5: [client] adress = \"a:1\": unknown key; did you mean \"address\"?",
        "gateway.toml:6: [client] address = 5: must be text in quotes",
        "gateway.toml:9: [core] voters = 7: must be text in quotes",
        "gateway.toml:10: [core] sync_timeout = \"soon\": must be a duration such as ",
        "gateway.toml:12: [sessions] min_timeout = \"1h\": ",
        "gateway.toml:13: [sessions] local = \"no\": must be true or false",
        "gateway.toml: [tenant] name: is missing; ",
        "gateway.toml: [storage] data_dir: is missing; ",
    ];
    assert_eq!(messages.len(), starts.len(), "{messages:#?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}\n{start}");
    }
}

#[test]
fn whoever_limits_a_tenant_limits_its_parts() {
    let folder = Folder::new();
    let throttle = |limit: &str| {
        let rest =
            "id = 1\n[tenant]\nname = \"x\"\n[core]\nvoters = [\"a:1\"]\n[storage]\ndata_dir = \"/x\"\n";
        let path = folder.write("gateway.toml", format!("{rest}[throttle]\nwrites = {limit}\n"));
        let throttle = gateway(&path).map(|loaded| loaded.config.throttle);
        throttle.map(|Throttle { writes, .. }| (writes.tenant, writes.address, writes.session, writes.prefix))
    };
    for (limit, expected) in [
        ("{ tenant = 100 }", (100, 100, 100, 0)),
        ("{ tenant = 30_000 }", (30_000, 30_000, 20_000, 0)),
        ("{ address = 10 }", (50_000, 10, 10, 0)),
        ("{ tenant = 0 }", (0, 50_000, 20_000, 0)),
        ("{ tenant = 100, address = 0, prefix = 200 }", (100, 0, 100, 200)),
    ] {
        assert_eq!(throttle(limit).unwrap(), expected, "{limit}");
    }
    let mistakes = folder.messages(&throttle("{ tenant = 100, session = 101 }").unwrap_err());
    assert!(mistakes[0].ends_with("session = 101 is more than address = 100"), "{mistakes:?}");
}

#[test]
fn what_is_wrong_with_a_section_as_a_whole_names_it_once() {
    let folder = Folder::new();
    let rest = "id = 1\n[tenant]\nname = \"x\"\n[core]\nvoters = [\"a:1\"]\n[storage]\ndata_dir = \"/x\"\n";
    for (limit, start) in [
        ("[throttle.znodes]\nprefix = 5\n", "gateway.toml:8: [throttle.znodes]: prefix = 5: "),
        (
            "[throttle]\nznodes = { prefix = 5 }\n",
            "gateway.toml:9: [throttle] znodes = { prefix = 5 }: prefix = 5: ",
        ),
    ] {
        let path = folder.write("gateway.toml", format!("{rest}{limit}"));
        let messages = folder.messages(&gateway(&path).unwrap_err());
        assert_eq!(messages.len(), 1, "{messages:#?}");
        assert!(messages[0].starts_with(start), "{messages:#?}");
    }
}

#[test]
fn what_is_not_toml_is_reported_with_its_line() {
    let folder = Folder::new();
    for (bytes, start) in [
        (&b"id = 1\nname = \n"[..], "x.toml:2: TOML: "),
        (b"id = 1\n# \xff\n", "x.toml:2: TOML: is not UTF-8"),
        (b"id = 1\nid = 2\n", "x.toml:2: TOML: "),
    ] {
        let path = folder.write("x.toml", bytes);
        for messages in
            [folder.messages(&gateway(&path).unwrap_err()), folder.messages(&core(&path).unwrap_err())]
        {
            assert_eq!(messages.len(), 1, "{messages:?}");
            assert!(messages[0].starts_with(start), "{messages:?}");
        }
    }
}

#[test]
fn a_secret_is_not_repeated_in_a_message() {
    let folder = Folder::new();
    for value in ["\"nobody:hunter2\"", "[\"hunter2\"]"] {
        let path = folder.write("gateway.toml", format!("[auth]\nsuper_digest = {value}\n"));
        let messages = folder.messages(&gateway(&path).unwrap_err());
        assert!(messages[0].starts_with("gateway.toml:2: [auth] super_digest: "), "{messages:?}");
        assert!(messages.iter().all(|message| !message.contains("hunter2")), "{messages:?}");
    }
}

/// That an example is parsed into the defaults does not show that it names every key.
#[test]
fn the_examples_name_every_key() {
    for (name, known) in
        [("voter.toml", include_str!("core_toml.rs")), ("gateway.toml", include_str!("gateway_toml.rs"))]
    {
        let text = fs::read_to_string(example(name)).unwrap();
        let keys = known.split("(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let keys = known.split("section, \"").skip(1).filter_map(|rest| rest.split('"').next()).chain(keys);
        let mut count = 0;
        for key in keys {
            let named = |line: &str| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} ="))
                    || line == format!("[{key}]")
                    || line.ends_with(&format!(".{key}]"))
            };
            assert!(text.lines().any(named), "{name} does not name {key}");
            count += 1;
        }
        assert!(count > 20, "{name}: {count}");
    }
}

#[test]
fn flags_win_over_the_file_and_are_named_in_mistakes() {
    let folder = Folder::new();
    let path = folder.write("gateway.toml", "id = 7\n[tenant]\nname = \"t\"\n");
    let mut overrides = GatewayOverrides {
        client_address: Some("127.0.0.1:0".into()),
        voters: Some(vec!["a:1".into()]),
        data_dir: Some("/d".into()),
        admin_address: Some("127.0.0.1:1".into()),
    };
    let config = load_gateway(&path, &overrides).unwrap().config;
    assert_eq!(config.client.address, "127.0.0.1:0");
    assert_eq!(config.core.voters, ["a:1"]);
    assert_eq!(config.storage.data_dir, Path::new("/d"));
    assert_eq!(config.admin.address.as_deref(), Some("127.0.0.1:1"));

    overrides.voters = Some(vec!["nonsense".into()]);
    let messages = folder.messages(&load_gateway(&path, &overrides).unwrap_err());
    assert!(
        messages[0].starts_with("--voters (PALISADE_VOTERS): [core] voters = nonsense: "),
        "{messages:?}"
    );

    let overrides = CoreOverrides { data_dir: None, admin_address: Some("8181".into()) };
    let messages = folder.messages(&load_core(&folder.zoo(""), &overrides).unwrap_err());
    assert!(
        messages[0]
            .starts_with("--admin-address (PALISADE_ADMIN_ADDRESS): [admin] address = 8181: must be an IP"),
        "{messages:?}"
    );
}

#[test]
fn the_ending_of_the_name_decides() {
    let folder = Folder::new();
    assert!(matches!(load(&example("gateway.toml")), Ok(Any::Gateway(_))));
    assert!(matches!(load(&example("voter.toml")), Ok(Any::Core(_))));
    assert!(matches!(load(&folder.zoo("")), Ok(Any::Core(_))));
    let messages = folder.messages(&gateway(&folder.zoo("")).unwrap_err());
    assert!(messages[0].contains("must end with .toml"), "{messages:?}");
    let missing = core(&folder.path().join("nowhere.toml")).unwrap_err().to_string();
    assert!(
        missing.contains("cannot read the configuration") && missing.contains("nowhere.toml"),
        "{missing}"
    );
}

/// The fenced blocks of the README in one language.
fn readme_blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_readmes_configurations_can_be_used() {
    let folder = Folder::new();
    folder.write("myid", "1");
    let [zoo] = &readme_blocks("properties")[..] else { panic!("one zoo.cfg") };
    let overrides = CoreOverrides { data_dir: Some(folder.path().into()), admin_address: None };
    let voter = load_core(&folder.write("zoo.cfg", zoo), &overrides).unwrap();
    assert_eq!(voter.warnings, []);
    let [voter_toml, gateway_toml] = &readme_blocks("toml")[..] else { panic!("a voter and a gateway") };
    let same = core(&folder.write("voter.toml", voter_toml)).unwrap();
    assert_eq!(format!("{:?}", same.config.ensemble), format!("{:?}", voter.config.ensemble));
    assert_eq!(same.config.timing.tick, voter.config.timing.tick);
    let gateway = gateway(&folder.write("gateway.toml", gateway_toml)).unwrap();
    assert_eq!(gateway.config.core.voters.len(), 3);
}
