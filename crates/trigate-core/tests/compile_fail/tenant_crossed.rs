//! Everything of a tenant is reached through its handle: no verb takes a tenant beside another id, and the store itself
//! has no such verb.

use trigate_core::{id::{TenantId, UserId}, port::{Store, TenantStore}};

async fn by_argument(store: &dyn TenantStore, other: &TenantId, user: &UserId) {
    let _ = store.find_user(other, user).await;
}

async fn past_the_handle(store: &dyn Store, user: &UserId) {
    let _ = store.find_user(user).await;
}

fn main() {}
