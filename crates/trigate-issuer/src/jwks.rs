//! Which keys verify our tokens? The published set: those that sign, those that will, and those whose tokens still live.

use crate::{Issuer, metadata};
use axum::{extract::State, response::Response};
use std::sync::Arc;

pub(crate) async fn document(State(issuer): State<Arc<Issuer>>) -> Response {
    metadata::public_json(&issuer.keyring.load().published(issuer.now()).to_json())
}
