//! Did a real credential come where it must not? It is not read as one, but its owner should know (K01, T33).

use crate::{gate2_authentication::jwt, passage::Passage};
use trigate_core::{
    credential::{ApiKey, Digest, OpaqueToken, may_hold_secret},
    id::{AppId, KeyId, TokenId},
};

/// What was found in the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exposed {
    Key {
        key: KeyId,
        application: AppId,
    },
    Token(TokenId),
    /// Its keyed checksum shows that it is one of ours; whose it is only a look-up could tell.
    OpaqueToken,
}

/// URLs with more pieces are not searched to their end.
const MAX_PIECES: usize = 64;
/// Signatures that are checked for one URL: a refused caller must not have the gate work for it.
const MAX_TOKENS: usize = 4;

pub(crate) fn find(passage: &Passage<'_>) -> Option<Exposed> {
    let query = passage.request.query.unwrap_or_default();
    in_text(passage, passage.request.path)
        .or_else(|| in_text(passage, query))
        .or_else(|| imported(passage, query.split('&').filter_map(|pair| pair.split_once('=').map(|(_, value)| value))))
        .or_else(|| imported(passage, passage.request.path.split('/')))
}

/// The path without imported keys, which no mark gives away: a record must not keep them.
pub(crate) fn mask_imported(passage: &Passage<'_>, path: &str) -> String {
    let mask = |part| if imported(passage, std::iter::once(part)).is_some() { "[masked]" } else { part };
    path.split('/').map(mask).collect::<Vec<_>>().join("/")
}

/// Tells the desk, outside the decision.
pub(crate) fn tell(passage: &Passage<'_>, exposed: Option<&Exposed>) {
    if let (Some(Exposed::Key { key, .. }), Some(tell), true) = (exposed, &passage.gates.on_exposed, passage.counts) {
        tell(key, &passage.id);
    }
}

/// Keys and tokens have marks of their own; none of their characters is percent-encoded by anyone.
fn in_text(passage: &Passage<'_>, text: &str) -> Option<Exposed> {
    if !may_hold_secret(text) {
        return None;
    }
    let mut pieces = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).take(MAX_PIECES);
    let mut tokens = 0;
    pieces.find_map(|piece| {
        native_key(passage, piece).or_else(|| opaque(passage, piece)).or_else(|| {
            tokens += usize::from(piece.contains("eyJ"));
            (tokens <= MAX_TOKENS).then(|| token(passage, piece)).flatten()
        })
    })
}

fn native_key(passage: &Passage<'_>, piece: &str) -> Option<Exposed> {
    let from = piece.get(piece.find("tgk_")?..)?;
    let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(from.len());
    known_key(passage, &ApiKey::parse(from.get(..end)?)?.digest())
}

fn known_key(passage: &Passage<'_>, digest: &Digest) -> Option<Exposed> {
    let record = passage.known().key(digest)?;
    Some(Exposed::Key { key: record.id.clone(), application: record.application.as_ref().clone() })
}

fn opaque(passage: &Passage<'_>, piece: &str) -> Option<Exposed> {
    let text = piece.get(piece.find(OpaqueToken::PREFIX)?..)?;
    OpaqueToken::parse(text, &passage.known().checksum_key()?).map(|_| Exposed::OpaqueToken)
}

/// By the keys at hand alone: a URL must not make the gate fetch.
fn token(passage: &Passage<'_>, piece: &str) -> Option<Exposed> {
    let text = piece.get(piece.find("eyJ")?..)?;
    jwt::verify_at_hand(passage, text).map(|verified| Exposed::Token(verified.facts.token))
}

/// Imported keys have no mark: a query's values and a path's segments are looked up as they stand.
fn imported<'a>(passage: &Passage<'_>, parts: impl Iterator<Item = &'a str>) -> Option<Exposed> {
    if passage.own_headers.is_empty() {
        return None;
    }
    let plausible = parts.take(MAX_PIECES).filter(|part| (16..=512).contains(&part.len()));
    plausible.map(Digest::of).find_map(|digest| known_key(passage, &digest))
}
