//! A gateway's settings from TOML. Fields of its `Config` and keys of the file have the same names.

use palisade_gateway::Config;
use palisade_gateway::config::{Notifications, Owners};
use palisade_gateway::throttle::config::{Limit, Mode, Refusal, Throttle};

use crate::report::Report;
use crate::section::{Document, Section};

/// Reads `text`; what is wrong goes to `report`. `None` if it is not TOML at all.
pub(crate) fn read(text: &str, report: &Report) -> Option<Config> {
    let mut config = Config::default();
    let document = Document::parse(text, report)?;
    let mut root = document.root();
    root.require("id", "give a number from 1 to 254 that no other gateway and no voter has");
    root.integer("id", &mut config.id);

    let mut section = root.section("gateway");
    section.duration("drain", &mut config.gateway.drain);
    section.finish();

    let mut section = root.section("tenant");
    section.require("name", "say whose gateway this is, such as \"discovery\"");
    section.string("name", &mut config.tenant.name);
    section.string("root", &mut config.tenant.root);
    section.finish();

    let mut section = root.section("client");
    section.string("address", &mut config.client.address);
    if section.has("four_letter_words") {
        let words = section.strings("four_letter_words");
        config.client.four_letter_words = words.into_iter().map(|(word, _)| word.to_owned()).collect();
    }
    section.finish();

    let mut section = root.section("auth");
    section.secret("super_digest", &mut config.auth.super_digest);
    section.finish();

    let mut section = root.section("core");
    section.require("voters", "list the voters' quorum addresses, such as [\"zk1:2888\", \"zk2:2888\"]");
    config.core.voters = section.strings("voters").into_iter().map(|(text, _)| text.to_owned()).collect();
    section.duration("connect_timeout", &mut config.core.connect_timeout);
    section.duration("init_timeout", &mut config.core.init_timeout);
    section.duration("sync_timeout", &mut config.core.sync_timeout);
    section.finish();

    let mut section = root.section("storage");
    section.require("data_dir", "give the folder for the replica, such as \"/var/lib/palisade/discovery\"");
    section.path("data_dir", &mut config.storage.data_dir);
    section.integer("snap_count", &mut config.storage.snap_count);
    section.integer("retain", &mut config.storage.retain);
    section.finish();

    let mut section = root.section("sessions");
    section.boolean("local", &mut config.sessions.local);
    section.secret("secret", &mut config.sessions.secret);
    section.integer("max_local", &mut config.sessions.max_local);
    section.integer("renewals_per_second", &mut config.sessions.renewals_per_second);
    section.duration("min_timeout", &mut config.sessions.min_timeout);
    section.duration("max_timeout", &mut config.sessions.max_timeout);
    section.duration("write_wait", &mut config.sessions.write_wait);
    section.finish();

    stale_reads(root.section("stale_reads"), &mut config);

    let mut section = root.section("admin");
    section.opt_string("address", &mut config.admin.address);
    section.finish();

    limits(root.section("limits"), &mut config);
    throttle(root.section("throttle"), &mut config.throttle);
    notifications(root.section("notifications"), &mut config.notifications);
    root.finish();
    Some(config)
}

fn stale_reads(mut section: Section<'_>, config: &mut Config) {
    let stale = &mut config.stale_reads;
    section.boolean("enabled", &mut stale.enabled);
    section.choice("owners", &Owners::NAMES, &mut stale.owners);
    section.opt_duration("max_age", &mut stale.max_age);
    section.boolean("new_sessions", &mut stale.new_sessions);
    section.finish();
}

fn limits(mut section: Section<'_>, config: &mut Config) {
    let limits = &mut config.limits;
    section.size("max_frame", &mut limits.max_frame);
    section.size("max_set_watches", &mut limits.max_set_watches);
    section.size("total_inbox_bytes", &mut limits.total_inbox_bytes);
    section.integer("max_connections", &mut limits.max_connections);
    section.integer("max_handshakes", &mut limits.max_handshakes);
    section.duration("handshake_timeout", &mut limits.handshake_timeout);
    section.size("outbox_bytes", &mut limits.outbox_bytes);
    section.size("total_outbox_bytes", &mut limits.total_outbox_bytes);
    section.size("total_pending_bytes", &mut limits.total_pending_bytes);
    section.integer("pipelined_requests", &mut limits.pipelined_requests);
    section.integer("watches", &mut limits.watches);
    section.integer("total_watches", &mut limits.total_watches);
    section.integer("in_flight", &mut limits.in_flight);
    section.size("in_flight_bytes", &mut limits.in_flight_bytes);
    section.integer("window", &mut limits.window);
    section.size("window_bytes", &mut limits.window_bytes);
    section.finish();
}

fn notifications(mut section: Section<'_>, notifications: &mut Notifications) {
    let Notifications { pacing, replay, replay_bytes } = notifications;
    section.integer("pace_above", &mut pacing.above);
    section.integer("rate", &mut pacing.rate);
    section.duration("window", &mut pacing.window);
    section.integer("reread_rate", &mut pacing.reread_rate);
    section.boolean("merge", &mut pacing.merge);
    section.boolean("replay", replay);
    section.size("replay_bytes", replay_bytes);
    section.finish();
}

fn throttle(mut section: Section<'_>, throttle: &mut Throttle) {
    section.choice("refusal", &Refusal::NAMES, &mut throttle.refusal);
    section.duration("max_delay", &mut throttle.max_delay);
    limit(section.section("writes"), Section::integer, &mut throttle.writes);
    limit(section.section("write_bytes"), Section::size, &mut throttle.write_bytes);
    limit(section.section("locks"), Section::integer, &mut throttle.locks);
    limit(section.section("short_locks"), Section::integer, &mut throttle.short_locks);
    limit(section.section("lock_parents"), Section::integer, &mut throttle.lock_parents);
    limit(section.section("in_flight"), Section::integer, &mut throttle.in_flight);
    limit(section.section("sessions"), Section::integer, &mut throttle.sessions);
    limit(section.section("connections"), Section::integer, &mut throttle.connections);
    limit(section.section("watches"), Section::integer, &mut throttle.watches);
    limit(section.section("znodes"), Section::integer, &mut throttle.znodes);
    limit(section.section("bytes"), Section::size, &mut throttle.bytes);
    section.finish();
}

fn limit<'a>(
    mut section: Section<'a>,
    read: impl Fn(&mut Section<'a>, &'static str, &mut u64),
    limit: &mut Limit,
) {
    section.choice("mode", &Mode::NAMES, &mut limit.mode);
    read(&mut section, "tenant", &mut limit.tenant);
    read(&mut section, "address", &mut limit.address);
    read(&mut section, "session", &mut limit.session);
    read(&mut section, "prefix", &mut limit.prefix);
    // Whoever lowers what is shared means everybody's own part of it, too.
    let mut shared = u64::MAX;
    for (scope, most) in
        [("tenant", &mut limit.tenant), ("address", &mut limit.address), ("session", &mut limit.session)]
    {
        if !section.has(scope) {
            *most = shared.min(*most);
        } else if *most > 0 {
            shared = *most;
        }
    }
    section.finish();
}
