//! Two hands with one secret, many times over: exactly one of them gets it.

use super::World;
use std::sync::Arc;
use tokio::sync::Semaphore;
use trigate_core::{
    client::Client,
    port::{CodeOutcome, RefreshOutcome},
    user::Session,
};

/// Pairs that are under way at once.
const WIDTH: usize = 128;

/// Runs `pairs` simultaneous pairs of code redemption, and of refresh.
pub async fn run(w: World, pairs: usize) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let width = Arc::new(Semaphore::new(WIDTH));
    let mut tasks = Vec::new();
    for _ in 0..pairs {
        let permit = width.clone().acquire_owned().await.unwrap();
        let (w, client, session) = (w.clone(), client.clone(), session.clone());
        tasks.push(tokio::spawn(async move {
            refresh_pair(&w, &client, &session).await;
            code_pair(&w, &client, &session).await;
            proof_pair(&w).await;
            drop(permit);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn proof_pair(w: &World) {
    let (proof, until) = (w.digest(), w.later());
    let (one, other) = tokio::join!(w.tenant.redeem_proof_id(&proof, until), w.tenant.redeem_proof_id(&proof, until));
    assert!(one.unwrap() != other.unwrap());
}

async fn code_pair(w: &World, client: &Client, session: &Session) {
    let code = w.code(client, session).await;
    let (one, other) =
        tokio::join!(w.redeem(w.presentation(&code, &client.id)), w.redeem(w.presentation(&code, &client.id)));
    let won = [&one, &other].iter().filter(|outcome| matches!(outcome, CodeOutcome::Redeemed(_))).count();
    let lost = [&one, &other].iter().filter(|outcome| matches!(outcome, CodeOutcome::Replayed { .. })).count();
    assert_eq!((won, lost), (1, 1));
}

async fn refresh_pair(w: &World, client: &Client, session: &Session) {
    let (_, token) = w.line(client, session).await;
    let (one, other) = (w.rotation(&token, &client.id), w.rotation(&token, &client.id));
    let seals = [one.sealed_successor.clone(), other.sealed_successor.clone()];
    let outcomes: [RefreshOutcome; 2] = tokio::join!(w.rotate(one), w.rotate(other)).into();
    let winner =
        outcomes.iter().position(|outcome| matches!(outcome, RefreshOutcome::Rotated(_))).expect("one rotates");
    match &outcomes[1 - winner] {
        RefreshOutcome::Again { sealed_successor, .. } => assert_eq!(*sealed_successor, seals[winner]),
        outcome => panic!("{outcome:?}"),
    }
}
