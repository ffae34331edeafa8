//! The one style sheet, named by its content, so that it can be kept for ever and never be stale.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use std::sync::LazyLock;
use trigate_core::credential::Digest;

const CSS: &str = include_str!("../../static/trigate.css");

/// `/static/trigate-<hash>.css`
pub(crate) static CSS_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = Digest::of(CSS).hex();
    format!("/static/trigate-{}.css", hash.get(..16).unwrap_or_default())
});

pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    if CSS_PATH.strip_prefix("/static/") != Some(file.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, CSS).into_response()
}
