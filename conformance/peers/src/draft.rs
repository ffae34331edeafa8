//! What is in a case before it is text? A key, a header, claims and a signature, each of which can be bent on the way.

use crate::{
    bends::{BENDS, Phase},
    choices::Choices,
    keys::{Pair, pairs},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Members of a JSON object as they are written: name (between its quotes) and value.
pub type Members = Vec<(String, String)>;

pub struct Draft {
    pub pair: &'static Pair,
    /// What it is signed with, whatever the header says.
    pub algorithm: &'static str,
    pub jwk: Members,
    /// More keys: then it is a set.
    pub others: Vec<Members>,
    pub is_set: bool,
    /// The key document as text, once written.
    pub key_text: String,
    pub header: Members,
    pub header_text: Vec<u8>,
    pub claims: Members,
    pub claims_text: Vec<u8>,
    pub signature: Vec<u8>,
    /// Header, payload, signature, encoded.
    pub parts: Vec<String>,
    pub token: String,
}

/// One question for each of the verifiers.
#[derive(Clone, Debug)]
pub struct Case {
    pub is_set: bool,
    /// A JWK, or a key set.
    pub key: String,
    pub token: String,
    /// What was bent; empty: an honest token.
    pub bends: Vec<&'static str>,
}

impl Case {
    /// The question as the adapter reads it. The key goes in as it is, duplicates and all; `None` where it is no JSON.
    pub fn question(&self, id: u64) -> Option<String> {
        // One line is one question.
        if self.key.contains(['\n', '\r']) || serde_json::from_str::<&serde_json::value::RawValue>(&self.key).is_err() {
            return None;
        }
        let member = if self.is_set { "jwks" } else { "jwk" };
        Some(format!(r#"{{"id":{id},"op":"jwt","token":{},"{member}":{}}}"#, json!(self.token), self.key))
    }
}

/// A case out of these choices: which key, and none to three bends.
pub fn make(bytes: &[u8]) -> Case {
    let mut choices = Choices::new(bytes);
    let count = usize::from(choices.byte() % 4);
    let mut picked: Vec<usize> = (0..count).map(|_| choices.below(BENDS.len())).collect();
    picked.sort_unstable();
    let mut draft = Draft::honest(&mut choices);
    for phase in Phase::ALL {
        draft.enter(phase);
        for (_, _, bend) in picked.iter().map(|at| &BENDS[*at]).filter(|(of, ..)| *of == phase) {
            bend(&mut draft, &mut choices);
        }
    }
    Case {
        is_set: draft.is_set,
        key: draft.key_text,
        token: draft.token,
        bends: picked.iter().map(|at| BENDS[*at].1).collect(),
    }
}

impl Draft {
    fn honest(choices: &mut Choices<'_>) -> Self {
        let pair = choices.one_of(&pairs()[..5]);
        let algorithm = choices.pick(pair.algorithms());
        let text = |text: &str| json!(text).to_string();
        Self {
            pair,
            algorithm,
            jwk: Self::members(pair, Some(algorithm), Some("k1")),
            others: vec![],
            is_set: false,
            key_text: String::new(),
            header: vec![("alg".into(), text(algorithm)), ("kid".into(), text("k1")), ("typ".into(), text("at+jwt"))],
            header_text: vec![],
            claims: vec![
                ("iss".into(), text("https://issuer.test")),
                ("sub".into(), text("u")),
                ("exp".into(), "4102444800".into()),
            ],
            claims_text: vec![],
            signature: vec![],
            parts: vec![],
            token: String::new(),
        }
    }

    pub fn members(pair: &Pair, algorithm: Option<&str>, kid: Option<&str>) -> Members {
        let (kty, crv) = pair.type_and_curve();
        let named = [("kty", Some(kty)), ("crv", crv), ("kid", kid), ("alg", algorithm), ("use", Some("sig"))];
        let named = named.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!((*value)?).to_string())));
        let numbers = pair.jwk().into_iter().map(|(name, bytes)| (name.to_owned(), encode_text(&bytes)));
        named.chain(numbers).collect()
    }

    /// What the phase before has made becomes what this one works on.
    fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Members => {}
            Phase::Json => {
                self.key_text = self.write_keys();
                self.header_text = write(&self.header).into_bytes();
                self.claims_text = write(&self.claims).into_bytes();
            }
            Phase::Signature => {
                self.parts = vec![encode(&self.header_text), encode(&self.claims_text)];
                self.signature = self.pair.sign(self.algorithm, self.parts.join(".").as_bytes());
            }
            Phase::Parts => self.parts.push(encode(&self.signature)),
            Phase::Text => self.token = self.parts.join("."),
        }
    }

    fn write_keys(&self) -> String {
        if !self.is_set {
            return write(&self.jwk);
        }
        let keys: Vec<String> = std::iter::once(&self.jwk).chain(&self.others).map(|jwk| write(jwk)).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }
}

pub fn write(members: &[(String, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// As a JSON text.
pub fn encode_text(bytes: &[u8]) -> String {
    Value::String(encode(bytes)).to_string()
}
