use super::*;

fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms: Perms(perms), id: Id::new(scheme, id) }
}

#[test]
fn a_digest_hashes_user_and_password() {
    // The vector of Apache's documentation of DigestAuthenticationProvider.
    assert_eq!(digest_id(b"super:test"), Id::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="));
    assert_eq!(digest_id(b"u:a:b").id.split(':').next(), Some("u"));
    assert!(digest_id(b"nobody").id.starts_with("nobody:"));
}

#[test]
fn the_world_the_super_identity_and_no_list_pass() {
    let read_only = Acl::read_only();
    assert!(check(&read_only, Perms::READ, &[]));
    assert!(!check(&read_only, Perms::WRITE, &[]));
    assert!(check(&read_only, Perms::WRITE, &[Id::new("super", "")]));
    assert!(check(&[], Perms::ADMIN, &[]));
    assert!(!check(&[acl(0, "world", "anyone")], Perms::READ, &[]));
}

#[test]
fn an_identity_matches_its_own_scheme_only() {
    let me = digest_id(b"me:secret");
    let list = [Acl { perms: Perms::WRITE, id: me.clone() }];
    assert!(check(&list, Perms::WRITE, std::slice::from_ref(&me)));
    assert!(!check(&list, Perms::READ, std::slice::from_ref(&me)));
    assert!(!check(&list, Perms::WRITE, &[digest_id(b"me:wrong")]));
    assert!(!check(&list, Perms::WRITE, &[Id::new("sasl", me.id)]));
    assert!(check(&[acl(1, "sasl", "a")], Perms::READ, &[Id::new("sasl", "super")]));
    assert!(!check(&[acl(1, "nonsense", "a")], Perms::READ, &[Id::new("nonsense", "a")]));
}

#[test]
fn addresses_match_by_prefix_and_family() {
    let on = |subject: &str, address: &str| {
        check(&[acl(1, "ip", subject)], Perms::READ, &[Id::new("ip", address)])
    };
    assert!(on("10.1.2.3", "10.1.2.3") && !on("10.1.2.3", "10.1.2.4"));
    assert!(on("10.1.0.0/16", "10.1.255.4") && !on("10.1.0.0/16", "10.2.0.0"));
    assert!(on("0.0.0.0/0", "192.168.7.7") && !on("0.0.0.0/0", "::1"));
    assert!(on("2001:db8::/32", "2001:db8:1::5") && !on("2001:db8::/32", "2001:db9::"));
    assert!(on("::1", "0:0:0:0:0:0:0:1") && on("::/0", "fe80::1"));
    assert!(!on("10.1.2.3", "not an address"));
}

#[test]
fn entries_are_checked() {
    let ok = |scheme: &str, id: &str| fix_up(&[acl(31, scheme, id)], &[]).is_ok();
    assert!(ok("world", "anyone") && !ok("world", "everyone"));
    assert!(ok("digest", "u:p") && ok("digest", ":p"));
    assert!(!ok("digest", "u:") && !ok("digest", "a:b:c") && !ok("digest", "u") && !ok("digest", ""));
    assert!(ok("ip", "1.2.3.4") && ok("ip", "1.2.3.4/0") && ok("ip", "::1") && ok("ip", "1::/64"));
    for bad in ["1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "host", "::1/129", "::ffff:1.2.3.4", "fe80::1%eth0", ""]
    {
        assert!(!ok("ip", bad), "{bad}");
    }
    assert!(!ok("super", "") && !ok("nonsense", "x"));
    assert_eq!(fix_up(&[], &[]), Err(ErrorCode::INVALID_ACL));
    assert_eq!(
        fix_up(&[acl(0, "world", "anyone"), acl(-1, "world", "anyone")], &[]).map(|l| l.len()),
        Ok(2),
        "any bits are kept"
    );
}

#[test]
fn duplicates_go_and_order_stays() {
    let (a, b) = (acl(31, "world", "anyone"), acl(1, "digest", "u:p"));
    assert_eq!(fix_up(&[b.clone(), a.clone(), b.clone()], &[]), Ok(vec![b, a]));
}

#[test]
fn auth_stands_for_every_proven_identity() {
    let ids = [Id::new("ip", "1.2.3.4"), digest_id(b"a:1"), digest_id(b"b:2")];
    let fixed = fix_up(&[acl(5, "auth", "")], &ids).unwrap();
    assert_eq!(fixed, [acl(5, "digest", &ids[1].id), acl(5, "digest", &ids[2].id)]);
    assert_eq!(fix_up(&[acl(5, "auth", "")], &ids[..1]), Err(ErrorCode::INVALID_ACL));
}

#[test]
fn hashes_are_hidden_from_all_but_admins() {
    let me = digest_id(b"me:secret");
    let list = [Acl { perms: Perms::ADMIN, id: me.clone() }, acl(1, "ip", "1.2.3.4")];
    assert_eq!(*mask(&list, &[]), [acl(16, "digest", "me:x"), acl(1, "ip", "1.2.3.4")]);
    assert_eq!(*mask(&list, &[me]), list);
}
