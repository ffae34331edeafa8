//! Single use, replay and reuse.

use super::{World, world::*};
use trigate_core::{
    application::State,
    change::Target,
    client::Client,
    credential::Digest,
    id::ClientId,
    port::{CodeOutcome, CodeRefusal, RedeemCode, RefreshOutcome, RefreshRefusal, RotateRefresh},
    user::Session,
};

async fn parties(w: &World) -> (Client, Session) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    (client, session)
}

pub async fn a_code_is_good_once(w: World) {
    let (client, session) = parties(&w).await;
    let code = w.code(&client, &session).await;
    let presentation = w.presentation(&code, &client.id);
    let refresh = presentation.refresh.as_ref().unwrap().digest;
    let CodeOutcome::Redeemed(issuance) = w.redeem(presentation.clone()).await else { panic!("good once") };
    assert_eq!(issuance.position, w.store.system().head().await.unwrap());
    assert_eq!(issuance.scopes, scopes("openid orders:read orders:write"));
    let token = w.token(&issuance);
    assert_eq!(w.judge(&token).await.unwrap(), token);
    assert!(w.tenant.find_refresh_grant(&refresh).await.unwrap().is_some());
    let replayed = CodeOutcome::Replayed { grant: issuance.grant.id.clone() };
    assert_eq!(w.redeem(presentation.clone()).await, replayed);
    assert!(w.judge(&token).await.is_none(), "a replay ends what the code opened");
    let refused = RefreshOutcome::Refused(RefreshRefusal::GrantRevoked);
    assert_eq!(w.rotate(w.rotation(&refresh, &client.id)).await, refused);
    assert_eq!(w.redeem(presentation).await, replayed);
}

pub async fn a_refused_code_is_not_consumed(w: World) {
    let (client, session) = parties(&w).await;
    let other = w.client(&client.application).await;
    let code = w.code(&client, &session).await;
    let good = w.presentation(&code, &client.id);
    let cases = [
        (RedeemCode { client: other.id.clone(), ..good.clone() }, CodeRefusal::OtherClient),
        (
            RedeemCode { redirect_uri: Some("https://evil.example".to_owned()), ..good.clone() },
            CodeRefusal::OtherRedirect,
        ),
        (RedeemCode { challenge: Some("wrong".to_owned()), ..good.clone() }, CodeRefusal::Verifier),
        (RedeemCode { challenge: None, ..good.clone() }, CodeRefusal::Verifier),
        (RedeemCode { digest: w.digest(), ..good.clone() }, CodeRefusal::Unknown),
        (RedeemCode { now: w.now().plus_seconds(60), ..good.clone() }, CodeRefusal::Expired),
    ];
    for (presentation, refusal) in cases {
        assert_eq!(w.redeem(presentation).await, CodeOutcome::Refused(refusal));
    }
    let user = session.user.clone();
    for (disabled, refusal) in [(true, Some(CodeRefusal::UserUnusable)), (false, None)] {
        let state = if disabled { State::Disabled } else { State::Enabled };
        w.tenant.set_user_state(w.act("x"), &user, state).await.unwrap().gives_only();
        if let Some(refusal) = refusal {
            assert_eq!(w.redeem(good.clone()).await, CodeOutcome::Refused(refusal));
        }
    }
    w.tenant.set_client_state(w.act("x"), &client.id, State::Disabled).await.unwrap().gives_only();
    assert_eq!(w.redeem(good.clone()).await, CodeOutcome::Refused(CodeRefusal::ClientUnusable));
    w.tenant.set_client_state(w.act("x"), &client.id, State::Enabled).await.unwrap().gives_only();
    let without_redirect = RedeemCode { redirect_uri: None, ..good.clone() };
    assert!(matches!(w.redeem(without_redirect).await, CodeOutcome::Redeemed(_)));
    // Another client that presents a used code ends nothing of the first one's.
    let stolen = RedeemCode { client: other.id, ..good };
    assert_eq!(w.redeem(stolen).await, CodeOutcome::Refused(CodeRefusal::OtherClient));
    assert!(!w.tenant.list_grants(&user).await.unwrap()[0].revoked);

    // RFC 9700 §2.1.1: a verifier for a code without a challenge.
    let mut bare = w.code_of(&client, &session);
    bare.challenge = None;
    let digest = bare.digest;
    w.tenant.issue_code(w.act("code"), bare).await.unwrap().gives_only();
    let presented = w.presentation(&digest, &client.id);
    assert_eq!(w.redeem(presented.clone()).await, CodeOutcome::Refused(CodeRefusal::Verifier));
    assert!(matches!(w.redeem(RedeemCode { challenge: None, ..presented }).await, CodeOutcome::Redeemed(_)));
    // A revoked session takes its codes along.
    let late = w.code(&client, &session).await;
    let target = Target::Session { id: session.id, issuer: None };
    w.tenant.revoke(w.act("x"), target, w.later()).await.unwrap().gives_only();
    let refused = CodeOutcome::Refused(CodeRefusal::GrantRevoked);
    assert_eq!(w.redeem(w.presentation(&late, &client.id)).await, refused);
}

pub async fn refresh_tokens_rotate_and_a_reuse_ends_the_line(w: World) {
    let (client, session) = parties(&w).await;
    let (issuance, first) = w.line(&client, &session).await;
    let rotation = w.rotation(&first, &client.id);
    let second = rotation.successor.as_ref().unwrap().digest;
    let other = RotateRefresh { client: ClientId::mint(w.rng()), ..rotation.clone() };
    assert_eq!(w.rotate(other).await, RefreshOutcome::Refused(RefreshRefusal::OtherClient));
    let more = RotateRefresh { scopes: Some(scopes("admin")), ..rotation.clone() };
    assert_eq!(w.rotate(more).await, RefreshOutcome::Refused(RefreshRefusal::ScopeExceeded));
    let late = RotateRefresh { now: w.now().plus_seconds(86_400), ..rotation.clone() };
    assert_eq!(w.rotate(late).await, RefreshOutcome::Refused(RefreshRefusal::Expired));
    let fewer = RotateRefresh { scopes: Some(scopes("openid")), ..rotation };
    let RefreshOutcome::Rotated(narrow) = w.rotate(fewer).await else { panic!("rotates") };
    assert_eq!((narrow.scopes, &narrow.grant.id), (scopes("openid"), &issuance.grant.id));
    let next = w.rotation(&second, &client.id);
    let third = next.successor.as_ref().unwrap().digest;
    let RefreshOutcome::Rotated(again) = w.rotate(next).await else { panic!("rotates") };
    assert_eq!(again.scopes, issuance.scopes, "fewer scopes once are not fewer for ever (RFC 6749 §6)");
    // RFC 9700 §4.14.2: the first one, used again after its successor was.
    let reused = RefreshOutcome::Reused { grant: issuance.grant.id.clone() };
    assert_eq!(w.rotate(w.rotation(&first, &client.id)).await, reused);
    let dead = RefreshOutcome::Refused(RefreshRefusal::GrantRevoked);
    assert_eq!(w.rotate(w.rotation(&third, &client.id)).await, dead);
    assert!(w.judge(&w.token(&again)).await.is_none());
}

pub async fn a_lost_answer_is_given_again_within_the_window(w: World) {
    let (client, session) = parties(&w).await;
    let (issuance, first) = w.line(&client, &session).await;
    let rotation = w.rotation(&first, &client.id);
    let seal = rotation.sealed_successor.clone();
    assert!(matches!(w.rotate(rotation).await, RefreshOutcome::Rotated(_)));
    w.clock.advance_s(9);
    match w.rotate(w.rotation(&first, &client.id)).await {
        RefreshOutcome::Again { sealed_successor, issuance: again } => {
            assert_eq!((sealed_successor, again.grant.id), (seal, issuance.grant.id.clone()));
        }
        other => panic!("{other:?}"),
    }
    w.clock.advance_s(1);
    let reused = RefreshOutcome::Reused { grant: issuance.grant.id };
    assert_eq!(w.rotate(w.rotation(&first, &client.id)).await, reused, "the window is over");

    let (issuance, first) = w.line(&client, &session).await;
    let strict = RotateRefresh { window_s: 0, ..w.rotation(&first, &client.id) };
    assert!(matches!(w.rotate(strict).await, RefreshOutcome::Rotated(_)));
    let reused = RefreshOutcome::Reused { grant: issuance.grant.id };
    assert_eq!(w.rotate(w.rotation(&first, &client.id)).await, reused, "no window at all");
}

pub async fn a_client_that_does_not_rotate_keeps_its_token(w: World) {
    let (client, session) = parties(&w).await;
    let (_, token) = w.line(&client, &session).await;
    for _ in 0..3 {
        let kept = RotateRefresh { successor: None, ..w.rotation(&token, &client.id) };
        assert!(matches!(w.rotate(kept).await, RefreshOutcome::Rotated(_)));
    }
    w.tenant.set_user_state(w.act("x"), &session.user, State::Disabled).await.unwrap().gives_only();
    let refused = RefreshOutcome::Refused(RefreshRefusal::UserUnusable);
    assert_eq!(w.rotate(w.rotation(&token, &client.id)).await, refused);
}

pub async fn one_of_many_simultaneous_presentations_wins(w: World) {
    let (client, session) = parties(&w).await;
    let code = w.code(&client, &session).await;
    let outcomes = at_once(64, |_| {
        let (w, client) = (w.clone(), client.id.clone());
        async move { w.redeem(w.presentation(&code, &client)).await }
    })
    .await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, CodeOutcome::Redeemed(_))).count();
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, CodeOutcome::Replayed { .. })).count();
    assert_eq!((won, lost), (1, 63));

    let (_, token) = w.line(&client, &session).await;
    let outcomes = at_once(64, |_| {
        let (w, client) = (w.clone(), client.id.clone());
        async move {
            let rotation = w.rotation(&token, &client);
            (rotation.sealed_successor.clone(), w.rotate(rotation).await)
        }
    })
    .await;
    let winner = outcomes.iter().find(|(_, outcome)| matches!(outcome, RefreshOutcome::Rotated(_))).unwrap().0.clone();
    let rotated = outcomes.iter().filter(|(_, outcome)| matches!(outcome, RefreshOutcome::Rotated(_))).count();
    assert_eq!(rotated, 1);
    for (_, outcome) in outcomes {
        match outcome {
            RefreshOutcome::Rotated(_) => {}
            RefreshOutcome::Again { sealed_successor, .. } => assert_eq!(sealed_successor, winner),
            other => panic!("{other:?}"),
        }
    }
    let successor = Digest::from_bytes(winner.try_into().unwrap());
    assert!(matches!(w.rotate(w.rotation(&successor, &client.id)).await, RefreshOutcome::Rotated(_)));
}

async fn at_once<T, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(make(index))).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}
