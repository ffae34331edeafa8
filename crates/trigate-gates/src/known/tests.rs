//! Does the gate's memory stay true, whatever the feed brings in whatever batches?

use super::*;
use proptest::prelude::*;
use trigate_core::{
    id::TokenId,
    jose::{Algorithm, SigningKey},
    oauth::ScopeSet,
    port::testing::{SeededRng, StoppedClock},
};

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

fn known() -> Known {
    Known::new(TenantId::default_tenant(), Arc::new(StoppedClock::at(NOW)))
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn change(position: u64, what: What) -> Change {
    let at = NOW.plus_seconds(i64::try_from(position).unwrap());
    Change { position: Position(position), tenant: TenantId::default_tenant(), at, what }
}

fn revoked(position: u64, target: Target) -> Change {
    change(position, What::Revoked { target, keep_until: NOW.plus_seconds(3_600) })
}

fn facts(position: u64) -> TokenFacts {
    TokenFacts {
        issuer: "http://issuer.test".into(),
        subject: "usr_0".into(),
        client: Some(id("cli_0")),
        application: Some(id("app_0")),
        identity: Identity::User { id: id("usr_0"), email: None },
        token: TokenId::from_bits(1),
        session: Some(id("ses_0")),
        grant: Some(id("grt_0")),
        audiences: vec![],
        scopes: ScopeSet::parse("a b c").unwrap(),
        roles: vec!["r1".into(), "r2".into(), "r3".into()],
        issued_at: Some(NOW),
        not_before: None,
        expires_at: NOW.plus_seconds(600),
        authenticated_at: None,
        acr: None,
        position: Some(Position(position)),
        actor: None,
        kid: Some("key-2026-11".into()),
        confirmation: None,
    }
}

#[test]
fn each_target_hits_what_was_minted_before_and_nothing_after() {
    let targets = [
        (Target::Session { id: id("ses_0"), issuer: None }, Reason::SessionRevoked),
        (Target::Grant { id: id("grt_0") }, Reason::GrantRevoked),
        (Target::User { id: id("usr_0"), issuer: None }, Reason::UserRevoked),
        (Target::Client { id: id("cli_0"), issuer: None }, Reason::ClientRevoked),
        (Target::Application { id: id("app_0") }, Reason::ApplicationRevoked),
    ];
    for (target, reason) in targets {
        let known = known();
        known.apply(&revoked(5, target));
        assert_eq!(known.check_token(&facts(4)), Err(reason));
        // Minted at or after the revocation: a login in the same second works.
        assert_eq!(known.check_token(&facts(5)), Ok(()));
    }
}

#[test]
fn a_token_and_a_signing_key_are_dead_whatever_position_they_claim() {
    for (target, reason) in [
        (Target::Token { id: TokenId::from_bits(1) }, Reason::TokenRevoked),
        (Target::SigningKey { kid: "key-2026-11".into() }, Reason::SigningKeyRevoked),
    ] {
        let known = known();
        known.apply(&revoked(5, target));
        assert_eq!(known.check_token(&facts(u64::MAX)), Err(reason));
    }
}

#[test]
fn foreign_tokens_are_hit_by_issuer_and_iat_and_ours_are_not() {
    let issuer = Some("https://x.test".to_owned());
    let targets = [
        (Target::User { id: id("usr_0"), issuer: issuer.clone() }, Reason::UserRevoked),
        (Target::Client { id: id("cli_0"), issuer: issuer.clone() }, Reason::ClientRevoked),
        (Target::Session { id: id("ses_0"), issuer }, Reason::SessionRevoked),
    ];
    let at = NOW.plus_seconds(5);
    for (target, reason) in targets {
        let known = known();
        known.apply(&revoked(5, target));
        for (issuer, issued_at, hit) in [
            ("https://x.test", Some(NOW), true),
            // The same second: it may have been before.
            ("https://x.test", Some(at), true),
            // An issuer's clock may be ahead by the leeway, and its token then be older than it says.
            ("https://x.test", Some(at.plus_seconds(10)), true),
            ("https://x.test", Some(at.plus_seconds(11)), false),
            ("https://x.test", None, true),
            ("https://y.test", Some(NOW), false),
        ] {
            let judged = known.check_foreign_token(&foreign(issuer, issued_at), None, 10);
            assert_eq!(judged, if hit { Err(reason) } else { Ok(()) }, "{issuer} {issued_at:?}");
        }
        assert_eq!(known.check_token(&facts(0)), Ok(()));
    }
}

fn foreign(issuer: &str, issued_at: Option<Timestamp>) -> TokenFacts {
    TokenFacts { issuer: issuer.into(), issued_at, position: None, ..facts(0) }
}

#[test]
fn a_foreign_subject_is_hit_under_both_of_its_names() {
    let known = known();
    known.apply(&revoked(5, Target::User { id: id("sub-1"), issuer: Some("https://x.test".into()) }));
    // The file named another claim as the user; signals name `sub`.
    let renamed = TokenFacts { subject: "sub-1".into(), ..foreign("https://x.test", Some(NOW)) };
    assert_eq!(known.check_foreign_token(&renamed, None, 0), Err(Reason::UserRevoked));
    let by_claim = self::known();
    by_claim.apply(&revoked(5, Target::User { id: id("usr_0"), issuer: Some("https://x.test".into()) }));
    assert_eq!(by_claim.check_foreign_token(&renamed, None, 0), Err(Reason::UserRevoked));
    let service = TokenFacts { identity: Identity::Service { client: id("cli_0") }, ..renamed };
    assert_eq!(known.check_foreign_token(&service, None, 0), Err(Reason::UserRevoked));
}

#[test]
fn a_foreign_rule_stays_as_long_as_it_can_hit_and_the_strictest_wins() {
    let known = known();
    let target = Target::User { id: id("usr_0"), issuer: Some("https://x.test".into()) };
    known.apply(&revoked(5, target.clone()));
    // A later rule that ends sooner takes nothing from the first.
    let short = What::Revoked { target, keep_until: NOW.plus_seconds(-100_000) };
    known.apply(&Change { what: short, ..revoked(6, Target::Key { id: id("key_0") }) });
    known.sweep();
    assert!(known.check_foreign_token(&foreign("https://x.test", Some(NOW)), None, 0).is_err());
}

/// Two hours after its end, when no clock that is set back can bring a token of its time to life (R05), a rule is gone.
#[test]
fn r05_rules_go_when_they_can_hit_nothing_any_more() {
    let issuer = Some("https://x.test".to_owned());
    let targets = [
        Target::Session { id: id("ses_0"), issuer: None },
        Target::Grant { id: id("grt_0") },
        Target::User { id: id("usr_0"), issuer: None },
        Target::Client { id: id("cli_0"), issuer: None },
        Target::Token { id: TokenId::from_bits(1) },
        Target::User { id: id("usr_0"), issuer: issuer.clone() },
        Target::Client { id: id("cli_0"), issuer: issuer.clone() },
        Target::Session { id: id("ses_0"), issuer },
    ];
    let keep_until = NOW.plus_seconds(3_600);
    let narrowings = [
        What::RolesNarrowed { user: id("usr_0"), roles: vec!["r1".into()], keep_until },
        What::GrantNarrowed { grant: id("grt_0"), scopes: ScopeSet::parse("a").unwrap(), keep_until },
        What::ClientScopesNarrowed { client: id("cli_0"), scopes: ScopeSet::parse("b").unwrap(), keep_until },
        What::ClientRolesNarrowed { client: id("cli_0"), roles: vec!["r1".into()], keep_until },
    ];
    let whats = targets.map(|target| What::Revoked { target, keep_until });
    for what in whats.into_iter().chain(narrowings) {
        let clock = StoppedClock::at(NOW);
        let known = Known::new(TenantId::default_tenant(), Arc::new(clock.clone()));
        known.apply(&change(5, what.clone()));
        let stands = || {
            known.sweep();
            let foreign = known.check_foreign_token(&foreign("https://x.test", Some(NOW)), None, 0);
            known.check_token(&facts(4)).is_err() || foreign.is_err() || known.may_narrow(&facts(4))
        };
        clock.advance_s(3 * 3_600);
        assert!(stands(), "{what:?}");
        // Revoked tokens are kept by whole hours.
        clock.advance_s(3_601);
        assert!(!stands(), "{what:?}");
    }
}

#[test]
fn one_rule_never_masks_another() {
    let known = known();
    let user = Target::User { id: id("usr_0"), issuer: None };
    known.apply(&revoked(5, user.clone()));
    known.apply(&change(6, What::Revoked { target: user, keep_until: NOW }));
    assert_eq!(known.check_token(&facts(5)), Err(Reason::UserRevoked));
    known.sweep();
    assert_eq!(known.check_token(&facts(5)), Err(Reason::UserRevoked), "the later end counts");
    // A later narrowing of one role leaves the earlier one of another in force.
    let narrowed = |position, role: &str| {
        let roles = vec![role.to_owned()];
        change(position, What::RolesNarrowed { user: id("usr_0"), roles, keep_until: NOW.plus_seconds(60) })
    };
    known.apply(&narrowed(7, "r1"));
    known.apply(&narrowed(9, "r2"));
    for (minted, left) in [(6, &["r3"][..]), (7, &["r1", "r3"]), (8, &["r1", "r3"]), (9, &["r1", "r2", "r3"])] {
        let mut facts = facts(minted);
        known.narrow(&mut facts);
        assert_eq!(facts.roles, left, "{minted}");
    }
}

#[test]
fn scopes_are_narrowed_by_grant_and_by_client() {
    let known = known();
    let keep_until = NOW.plus_seconds(60);
    let scopes = |text: &str| ScopeSet::parse(text).unwrap();
    known.apply(&change(5, What::GrantNarrowed { grant: id("grt_0"), scopes: scopes("a"), keep_until }));
    known.apply(&change(6, What::ClientScopesNarrowed { client: id("cli_0"), scopes: scopes("b"), keep_until }));
    known.apply(&change(7, What::ClientRolesNarrowed { client: id("cli_0"), roles: vec!["r1".into()], keep_until }));
    for (minted, left) in [(4, "c"), (5, "a c"), (6, "a b c")] {
        let mut facts = facts(minted);
        assert!(known.may_narrow(&facts));
        known.narrow(&mut facts);
        assert_eq!((facts.scopes.to_string().as_str(), facts.roles.len()), (left, 3));
    }
    // Any one of them is worth a look; without any there is none.
    for what in [
        What::RolesNarrowed { user: id("usr_0"), roles: vec!["r1".into()], keep_until },
        What::GrantNarrowed { grant: id("grt_0"), scopes: scopes("a"), keep_until },
        What::ClientScopesNarrowed { client: id("cli_0"), scopes: scopes("b"), keep_until },
        What::ClientRolesNarrowed { client: id("cli_0"), roles: vec!["r1".into()], keep_until },
    ] {
        let known = self::known();
        assert!(!known.may_narrow(&facts(0)));
        known.apply(&change(5, what.clone()));
        assert!(known.may_narrow(&facts(0)), "{what:?}");
    }
    // A client's roles are those of tokens that it got for itself.
    let mut service = TokenFacts { identity: Identity::Service { client: id("cli_0") }, ..facts(6) };
    known.narrow(&mut service);
    assert_eq!(service.roles, ["r2", "r3"]);
}

#[test]
fn expired_buckets_go_and_living_ones_stay() {
    let clock = StoppedClock::at(NOW);
    let known = Known::new(TenantId::default_tenant(), Arc::new(clock.clone()));
    for (position, bits, life_s) in [(1, 1u128, 600), (2, 2, 10 * 24 * 3_600)] {
        let keep_until = NOW.plus_seconds(life_s);
        let target = Target::Token { id: TokenId::from_bits(bits) };
        known.apply(&change(position, What::Revoked { target, keep_until }));
    }
    known.sweep();
    assert_eq!(known.sizes()[3], 2);
    clock.advance_s(24 * 3_600);
    known.sweep();
    assert_eq!(known.sizes()[3], 1);
    assert!(known.check_token(&TokenFacts { token: TokenId::from_bits(2), ..facts(9) }).is_err());
}

#[test]
fn leases_count_on_the_monotonic_clock() {
    let known = known();
    assert!(!known.trusted(Monotonic(0)), "none at first");
    known.hold_lease(Monotonic(10));
    known.hold_lease(Monotonic(5));
    assert!(known.trusted(Monotonic(9)) && !known.trusted(Monotonic(10)));
    known.drop_lease();
    assert!(!known.trusted(Monotonic(0)));
    known.hold_lease(Monotonic(5_500_000));
    assert_eq!([0, 2_500_000, 6_000_000].map(|now| known.lease_remaining_ms(Monotonic(now))), [5_500, 3_000, 0]);
}

#[test]
fn each_name_of_a_certificate_is_enough_to_revoke_it() {
    let certificate = ClientCertificate {
        fingerprint: "f".into(),
        thumbprint: String::new(),
        key: "k".into(),
        serial: "s".into(),
        issuer: "i".into(),
        subject: String::new(),
        san_uris: vec!["spiffe://acme.test/a".into()],
        san_dns: vec![],
        san_ips: vec![],
        san_emails: vec![],
        not_before: NOW,
        not_after: NOW.plus_seconds(600),
        fault: None,
    };
    for (target, hit) in [
        (Target::Certificate { fingerprint: "f".into() }, true),
        (Target::Certificate { fingerprint: "g".into() }, false),
        (Target::CertificateSerial { issuer: "i".into(), serial: "s".into() }, true),
        (Target::CertificateSerial { issuer: "j".into(), serial: "s".into() }, false),
        (Target::CertificateKey { spki: "k".into() }, true),
        (Target::CertificateKey { spki: "l".into() }, false),
        (Target::SpiffeId { id: "spiffe://acme.test/a".into() }, true),
        (Target::SpiffeId { id: "spiffe://acme.test/b".into() }, false),
    ] {
        let known = known();
        known.apply(&revoked(5, target.clone()));
        let judged = known.check_certificate(&certificate);
        assert_eq!(judged, if hit { Err(Reason::CertificateRevoked) } else { Ok(()) }, "{target:?}");
    }
}

#[test]
fn a_change_of_signing_keys_parts_what_was_verified_before_from_what_is_verified_after() {
    let known = known();
    let epochs = std::cell::RefCell::new(vec![known.verifier_epoch()]);
    let turn = || epochs.borrow_mut().push(known.verifier_epoch());
    known.load(snapshot(1, vec![], &[]));
    turn();
    let key = SigningKey::generate(Algorithm::EdDSA, "k2").unwrap();
    let record = PublicKey { kid: "k2".into(), jwk: key.public_jwk(), published_until: None, revoked: false };
    known.apply(&change(2, What::SigningKey { record }));
    turn();
    known.apply(&revoked(3, Target::SigningKey { kid: "k2".into() }));
    turn();
    assert!(epochs.borrow().windows(2).all(|two| two[0] < two[1]), "{epochs:?}");
    known.apply(&revoked(4, Target::Key { id: id("key_0") }));
    assert_eq!(Some(&known.verifier_epoch()), epochs.borrow().last(), "a key of an application verifies no token");
}

#[test]
fn own_headers_are_none_that_mean_something_else() {
    for name in ["authorization", "Cookie", "X-API-Key", "a b", ""] {
        assert_eq!(own_header(name), None, "{name}");
    }
    assert_eq!(own_header("X-Acme-Key").unwrap(), "x-acme-key");
}

#[test]
fn what_a_gate_is_told_beside_the_feed_is_known() {
    let known = known();
    assert!(known.checksum_key().is_none());
    known.set_checksum_key(ChecksumKey::mint(&SeededRng::new(1)));
    assert!(known.checksum_key().is_some());
    let empty = known.revoked_token_bytes();
    for n in 0..1_000 {
        known.apply(&revoked(n + 1, Target::Token { id: TokenId::from_bits(n.into()) }));
    }
    assert!(known.revoked_token_bytes() >= empty + 20_000);
}

/// A revocation was answered because this gate held no lease; a renewal that was under way must not make up for it.
#[test]
fn a_renewed_lease_does_not_outrun_what_was_answered_without_it() {
    let known = known();
    let now = Monotonic(0);
    assert!(!known.trusted(now));
    known.demand(Position(7));
    known.hold_lease(Monotonic(10));
    assert!(!known.trusted(now), "answered up to 7, applied up to 0");
    known.advance(Position(6));
    assert!(!known.trusted(now));
    known.advance(Position(7));
    assert!(known.trusted(now));
}

#[test]
fn other_tenants_and_old_positions_change_nothing() {
    let known = known();
    let foreign = Change { tenant: id("ten_other"), ..revoked(5, Target::Session { id: id("ses_0"), issuer: None }) };
    known.apply(&foreign);
    assert_eq!((known.position(), known.check_token(&facts(0))), (Position(5), Ok(())));
    known.apply(&revoked(5, Target::Session { id: id("ses_0"), issuer: None }));
    assert_eq!(known.check_token(&facts(0)), Ok(()), "position 5 is past");
    known.advance(Position(4));
    assert_eq!(known.position(), Position(5));
}

fn snapshot(position: u64, standing: Vec<Change>, disabled: &[&str]) -> Snapshot {
    Snapshot {
        position: Position(position),
        applications: vec![],
        keys: vec![],
        clients: vec![],
        signing_keys: vec![],
        disabled_users: disabled.iter().map(|user| id(user)).collect(),
        standing,
        opaque_checksum: None,
    }
}

#[test]
fn a_snapshot_never_wakes_the_revoked() {
    let known = known();
    known.apply(&revoked(5, Target::Session { id: id("ses_0"), issuer: None }));
    known.apply(&change(6, What::UserState { user: id("usr_0"), state: State::Disabled }));
    known.load(snapshot(4, vec![], &[]));
    assert_eq!(known.position(), Position(6), "an older snapshot is ignored");
    // One of the same position says the same, and is taken: the first of an empty store is of position 0.
    known.load(snapshot(6, vec![], &["usr_0"]));
    assert_eq!(known.check_token(&facts(6)), Err(Reason::UserDisabled));
    let fresh = self::known();
    fresh.load(snapshot(0, vec![], &["usr_0"]));
    assert_eq!(fresh.check_token(&facts(0)), Err(Reason::UserDisabled));
    known.load(snapshot(7, vec![], &["usr_1"]));
    assert_eq!(known.check_token(&facts(4)), Err(Reason::SessionRevoked));
    assert_eq!(known.check_token(&facts(6)), Ok(()), "enabled again meanwhile");
}

/// A few targets, so that rules meet.
fn any_what() -> impl Strategy<Value = What> {
    let keep_until = NOW.plus_seconds(3_600);
    let n = 0u8..3;
    prop_oneof![
        n.clone().prop_map(move |n| What::Revoked {
            target: Target::User { id: id(&format!("usr_{n}")), issuer: None },
            keep_until
        }),
        n.clone().prop_map(move |n| What::Revoked {
            target: Target::Session { id: id(&format!("ses_{n}")), issuer: None },
            keep_until
        }),
        n.clone().prop_map(move |n| What::Revoked {
            target: Target::Token { id: TokenId::from_bits(n.into()) },
            keep_until
        }),
        n.clone().prop_map(move |n| What::Revoked {
            target: Target::Application { id: id(&format!("app_{n}")) },
            keep_until
        }),
        (n.clone(), any::<bool>()).prop_map(|(n, off)| What::UserState {
            user: id(&format!("usr_{n}")),
            state: if off { State::Disabled } else { State::Enabled },
        }),
        (n.clone(), n.clone()).prop_map(move |(n, role)| What::RolesNarrowed {
            user: id(&format!("usr_{n}")),
            roles: vec![format!("r{role}")],
            keep_until,
        }),
        n.prop_map(move |n| What::GrantNarrowed {
            grant: id(&format!("grt_{n}")),
            scopes: ScopeSet::parse("a").unwrap(),
            keep_until
        }),
    ]
}

/// What the gate says of every token that could be asked about.
fn answers(known: &Known, upto: u64) -> Vec<(Result<(), Reason>, Vec<String>, String)> {
    let mut answers = Vec::new();
    for n in 0..3u8 {
        for position in 0..=upto {
            let mut facts = TokenFacts {
                identity: Identity::User { id: id(&format!("usr_{n}")), email: None },
                session: Some(id(&format!("ses_{n}"))),
                grant: Some(id(&format!("grt_{n}"))),
                application: Some(id(&format!("app_{n}"))),
                token: TokenId::from_bits(u128::from(n) + 100),
                ..facts(position)
            };
            let judged = known.check_token(&facts);
            known.narrow(&mut facts);
            answers.push((judged, facts.roles, facts.scopes.to_string()));
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_into_snapshot_and_tail_and_any_repetition_gives_the_same_answers(
        whats in prop::collection::vec(any_what(), 1..30), cut in any::<prop::sample::Index>(), again in any::<prop::sample::Index>(),
    ) {
        let feed: Vec<Change> = whats.into_iter().enumerate().map(|(at, what)| change(at as u64 + 1, what)).collect();
        let upto = feed.len() as u64 + 1;
        let one = known();
        feed.iter().for_each(|change| one.apply(change));

        let cut = cut.index(feed.len() + 1);
        let (head, tail) = feed.split_at(cut);
        let mut disabled: Vec<UserId> = Vec::new();
        for change in head {
            if let What::UserState { user, state } = &change.what {
                disabled.retain(|other| other != user);
                if *state == State::Disabled {
                    disabled.push(user.clone());
                }
            }
        }
        let standing = head.iter().filter(|change| !matches!(change.what, What::UserState { .. })).cloned().collect();
        let two = known();
        two.load(Snapshot { disabled_users: disabled, ..snapshot(cut as u64, standing, &[]) });
        tail.iter().for_each(|change| two.apply(change));
        // Read again from somewhere: nothing changes.
        feed.iter().skip(again.index(feed.len())).for_each(|change| two.apply(change));

        prop_assert_eq!(one.position(), two.position());
        prop_assert_eq!(answers(&one, upto), answers(&two, upto));
    }

    #[test]
    fn a_revocation_is_never_undone_by_what_follows(
        before in prop::collection::vec(any_what(), 0..10), after in prop::collection::vec(any_what(), 0..20),
    ) {
        let known = known();
        let at = before.len() as u64 + 1;
        let revocation = What::Revoked { target: Target::Grant { id: id("grt_0") }, keep_until: NOW.plus_seconds(60) };
        let feed = before.into_iter().chain([revocation]).chain(after);
        for (index, what) in feed.enumerate() {
            known.apply(&change(index as u64 + 1, what));
        }
        prop_assert!(known.check_token(&facts(at - 1)).is_err());
    }
}
