//! A change of state takes the act that it is part of.

async fn silent(store: &dyn trigate_core::port::TenantStore, user: &trigate_core::id::UserId) {
    let _ = store.remove_role(user, "admin").await;
}

fn main() {}
