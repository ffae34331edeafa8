//! How would an attacker, or a careless issuer, bend a token or its key? One line for each way.

use crate::{
    choices::Choices,
    draft::{Draft, Members, encode, encode_text, write},
    keys::{Kind, pairs},
    numbers,
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

/// When a bend is made: on members, on JSON texts, on the signature's bytes, on encoded parts, on the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Members,
    Json,
    Signature,
    Parts,
    Text,
}

impl Phase {
    pub const ALL: [Self; 5] = [Self::Members, Self::Json, Self::Signature, Self::Parts, Self::Text];
}

type Bend = fn(&mut Draft, &mut Choices<'_>);

pub const BENDS: &[(Phase, &str, Bend)] = &[
    (Phase::Members, "key: another `alg`", key_alg),
    (Phase::Members, "key: no `alg`", |draft, _| remove(&mut draft.jwk, "alg")),
    (Phase::Members, "key: `use`", key_use),
    (Phase::Members, "key: `key_ops`", key_ops),
    (Phase::Members, "key: `kid`", |draft, choices| set(&mut draft.jwk, "kid", choices.pick(&KIDS))),
    (Phase::Members, "key: another type or curve", key_type),
    (Phase::Members, "key: a member twice", |draft, choices| twice(&mut draft.jwk, choices)),
    (Phase::Members, "key: a private member", key_private),
    (Phase::Members, "key: symmetric", key_symmetric),
    (Phase::Members, "key: a number bent", key_number),
    (Phase::Members, "key: exponent", key_exponent),
    (Phase::Members, "key: somebody else's", key_other),
    (Phase::Members, "key: members that nobody asked for", |draft, choices| extra(&mut draft.jwk, choices)),
    (Phase::Members, "key: a set", key_set),
    (Phase::Members, "header: another `alg`", |draft, choices| {
        set(&mut draft.header, "alg", choices.pick(&ALGORITHMS))
    }),
    (Phase::Members, "header: odd `alg`", |draft, choices| {
        set(&mut draft.header, "alg", choices.pick(&ODD_ALGORITHMS))
    }),
    (Phase::Members, "header: curve's own name", |draft, _| set(&mut draft.header, "alg", "\"Ed25519\"")),
    (Phase::Members, "header: a member twice", |draft, choices| twice(&mut draft.header, choices)),
    (Phase::Members, "header: an escaped name", header_escaped),
    (Phase::Members, "header: `crit`", header_crit),
    (Phase::Members, "header: `b64`", header_b64),
    (Phase::Members, "header: `kid`", |draft, choices| set(&mut draft.header, "kid", choices.pick(&KIDS))),
    (Phase::Members, "header: no `kid`", |draft, _| remove(&mut draft.header, "kid")),
    (Phase::Members, "header: `typ`", |draft, choices| set(&mut draft.header, "typ", choices.pick(&TYPES))),
    (Phase::Members, "header: members that nobody asked for", |draft, choices| extra(&mut draft.header, choices)),
    (Phase::Members, "header: the key within", |draft, _| {
        let key = write(&draft.jwk);
        set(&mut draft.header, "jwk", &key);
    }),
    (Phase::Members, "claims: a member twice", |draft, choices| twice(&mut draft.claims, choices)),
    (Phase::Members, "claims: members that nobody asked for", |draft, choices| extra(&mut draft.claims, choices)),
    (Phase::Members, "signed by another algorithm of the key", |draft, choices| {
        draft.algorithm = choices.pick(draft.pair.algorithms());
    }),
    (Phase::Json, "header: text", |draft, choices| bend_json(&mut draft.header_text, choices)),
    (Phase::Json, "claims: text", |draft, choices| bend_json(&mut draft.claims_text, choices)),
    (Phase::Signature, "signature: HMAC with what is public", sign_hmac),
    (Phase::Signature, "signature: somebody else's", sign_other),
    (Phase::Signature, "signature: over the payload unencoded", sign_unencoded),
    (Phase::Signature, "signature: the other s", other_s),
    (Phase::Signature, "signature: DER", |draft, _| draft.signature = numbers::der(&draft.signature)),
    (Phase::Signature, "signature: halves", bend_halves),
    (Phase::Signature, "signature: bytes", |draft, choices| bend_bytes(&mut draft.signature, choices)),
    (Phase::Parts, "part: padding", |draft, choices| part(draft, choices, |text, _| text.push('='))),
    (Phase::Parts, "part: the other alphabet", |draft, choices| {
        part(draft, choices, |text, _| *text = text.replace('-', "+").replace('_', "/"));
    }),
    (Phase::Parts, "part: something between", |draft, choices| part(draft, choices, insert)),
    (Phase::Parts, "part: its last bits", |draft, choices| part(draft, choices, last_bits)),
    (Phase::Parts, "part: cut or grown", |draft, choices| part(draft, choices, cut_or_grow)),
    (Phase::Parts, "part: a character", |draft, choices| part(draft, choices, replace)),
    (Phase::Parts, "parts: more or less", more_or_less),
    (Phase::Text, "token: around it", around),
    (Phase::Text, "token: JSON serialization", serialized),
    (Phase::Text, "token: a character", |draft, choices| replace(&mut draft.token, choices)),
];

const ALGORITHMS: [&str; 13] = [
    "\"RS256\"",
    "\"PS256\"",
    "\"ES256\"",
    "\"EdDSA\"",
    "\"RS384\"",
    "\"RS512\"",
    "\"PS384\"",
    "\"PS512\"",
    "\"ES384\"",
    "\"ES512\"",
    "\"HS256\"",
    "\"HS384\"",
    "\"HS512\"",
];
const ODD_ALGORITHMS: [&str; 18] = [
    "\"none\"",
    "\"None\"",
    "\"NONE\"",
    "\"nOnE\"",
    "\"none \"",
    "\"\"",
    "null",
    "1",
    "true",
    "[\"none\"]",
    "[\"RS256\"]",
    "{}",
    "\"rs256\"",
    "\"ES256K\"",
    "\"RS1\"",
    "\"RS256 \"",
    "\"Ed448\"",
    "\"RSA-OAEP\"",
];
const KIDS: [&str; 10] = [
    "\"k2\"",
    "\"\"",
    "\"K1\"",
    "1",
    "null",
    "[\"k1\"]",
    "\"k1 \"",
    "\"k\\u0031\"",
    "\"k1\\u0000\"",
    "\"../../dev/null\"",
];
const TYPES: [&str; 9] = [
    "\"JWT\"",
    "\"application/at+jwt\"",
    "\"AT+JWT\"",
    "\"\"",
    "1",
    "null",
    "[\"JWT\"]",
    "\"a\\u0000\"",
    "\"dpop+jwt\"",
];

fn set(members: &mut Members, name: &str, value: &str) {
    match members.iter_mut().find(|(have, _)| have == name) {
        Some((_, old)) => value.clone_into(old),
        None => members.push((name.to_owned(), value.to_owned())),
    }
}

fn remove(members: &mut Members, name: &str) {
    members.retain(|(have, _)| have != name);
}

/// The same again or something else, before or behind: which one counts?
fn twice(members: &mut Members, choices: &mut Choices<'_>) {
    if members.is_empty() {
        return;
    }
    let (name, value) = members[choices.below(members.len())].clone();
    let other = choices.pick(&["", "\"none\"", "\"HS256\"", "\"RS256\"", "\"ES256\"", "\"x\"", "null", "1", "{}"]);
    let other = if other.is_empty() { value } else { other.to_owned() };
    let name = if choices.byte() & 1 == 0 { name } else { escape_first(&name) };
    let at = if choices.byte() & 1 == 0 { members.len() } else { 0 };
    members.insert(at, (name, other));
}

fn escape_first(name: &str) -> String {
    name.chars()
        .next()
        .map_or_else(String::new, |first| format!("\\u{:04x}{}", u32::from(first), &name[first.len_utf8()..]))
}

fn extra(members: &mut Members, choices: &mut Choices<'_>) {
    let name = choices.pick(&[
        "x",
        "jku",
        "x5u",
        "x5c",
        "x5t",
        "x5t#S256",
        "zip",
        "enc",
        "cty",
        "p2c",
        "epk",
        "exp",
        "ALG",
        "url",
        "nonce",
        "__proto__",
        "toString",
        "then",
        "",
        "crit ",
        "$",
    ]);
    let long = format!("\"{}\"", "a".repeat(5_000));
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let digits = "9".repeat(400);
    let values: [&str; 22] = [
        "\"https://evil.test/keys\"",
        "null",
        "true",
        "false",
        "1",
        "-0",
        "1e400",
        "1.5e-400",
        "18446744073709551616",
        "{}",
        "[]",
        "[\"MIIB\"]",
        "{\"a\":1,\"a\":2}",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"DEF\"",
        "\"é\"",
        "[[[[[[]]]]]]",
        &long,
        &deep,
        &digits,
        "{\"__proto__\":{}}",
    ];
    let value = choices.pick(&values);
    let at = choices.below(members.len() + 1);
    members.insert(at, (name.to_owned(), value.to_owned()));
}

fn key_alg(draft: &mut Draft, choices: &mut Choices<'_>) {
    let value = if choices.byte() & 1 == 0 { choices.pick(&ALGORITHMS) } else { choices.pick(&ODD_ALGORITHMS) };
    set(&mut draft.jwk, "alg", value);
}

fn key_use(draft: &mut Draft, choices: &mut Choices<'_>) {
    set(&mut draft.jwk, "use", choices.pick(&["\"enc\"", "\"SIG\"", "\"\"", "null", "1", "[\"sig\"]", "\"sig \""]));
}

fn key_ops(draft: &mut Draft, choices: &mut Choices<'_>) {
    let values = [
        "[\"verify\"]",
        "[\"sign\"]",
        "[]",
        "[\"verify\",\"verify\"]",
        "\"verify\"",
        "[\"sign\",\"verify\"]",
        "null",
        "[1]",
        "[\"verify\",null]",
        "[\"encrypt\",\"verify\"]",
    ];
    if choices.byte() & 1 == 0 {
        remove(&mut draft.jwk, "use");
    }
    set(&mut draft.jwk, "key_ops", choices.pick(&values));
}

fn key_type(draft: &mut Draft, choices: &mut Choices<'_>) {
    if choices.byte() & 1 == 0 {
        set(
            &mut draft.jwk,
            "kty",
            choices.pick(&["\"RSA\"", "\"EC\"", "\"OKP\"", "\"oct\"", "\"AKP\"", "\"rsa\"", "\"\"", "null", "1"]),
        );
    } else {
        let curves = [
            "\"P-256\"",
            "\"P-384\"",
            "\"P-521\"",
            "\"Ed25519\"",
            "\"X25519\"",
            "\"Ed448\"",
            "\"secp256k1\"",
            "\"p-256\"",
            "\"\"",
            "null",
        ];
        set(&mut draft.jwk, "crv", choices.pick(&curves));
    }
}

fn key_private(draft: &mut Draft, choices: &mut Choices<'_>) {
    let name = choices.pick(&["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"]);
    set(&mut draft.jwk, name, choices.pick(&["\"AQ\"", "\"\"", "null", "[]", "1"]));
}

fn key_symmetric(draft: &mut Draft, choices: &mut Choices<'_>) {
    let forms = draft.pair.public_forms();
    let secret = encode_text(choices.one_of::<Vec<u8>>(&forms));
    draft.jwk = vec![("kty".into(), "\"oct\"".into()), ("kid".into(), "\"k1\"".into()), ("k".into(), secret)];
}

fn key_number(draft: &mut Draft, choices: &mut Choices<'_>) {
    let numbers: Vec<usize> = draft
        .jwk
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| ["n", "e", "x", "y"].contains(&name.as_str()))
        .map(|(at, _)| at)
        .collect();
    if numbers.is_empty() {
        return;
    }
    let (_, value) = &mut draft.jwk[choices.pick(&numbers)];
    let mut text = value.trim_matches('"').to_owned();
    match choices.below(6) {
        0 => {
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap_or_default();
            bend_bytes(&mut bytes, choices);
            text = encode(&bytes);
        }
        1 => text.push('='),
        2 => text = text.replace('-', "+").replace('_', "/"),
        3 => last_bits(&mut text, choices),
        4 => insert(&mut text, choices),
        _ => cut_or_grow(&mut text, choices),
    }
    *value = json!(text).to_string();
}

fn key_exponent(draft: &mut Draft, choices: &mut Choices<'_>) {
    if draft.pair.kind == Kind::Rsa {
        let values = [
            "\"AQ\"",
            "\"Ag\"",
            "\"Aw\"",
            "\"AAEAAQ\"",
            "\"AQAC\"",
            "\"\"",
            "\"AA\"",
            "65537",
            "\"AQAAAAAAAAAAAQ\"",
            "\"AQABAQ\"",
        ];
        set(&mut draft.jwk, "e", choices.pick(&values));
    }
}

fn key_other(draft: &mut Draft, choices: &mut Choices<'_>) {
    let pair = choices.one_of(pairs());
    draft.jwk =
        Draft::members(pair, choices.pick(&[None, Some(draft.algorithm), Some(pair.algorithms()[0])]), Some("k1"));
}

/// A set: a second key beside the first, with the same name, another or none; or the same key again.
fn key_set(draft: &mut Draft, choices: &mut Choices<'_>) {
    draft.is_set = true;
    for _ in 0..choices.below(3) {
        let pair = choices.one_of(pairs());
        let algorithm = choices.pick(&[Some(pair.algorithms()[0]), None, Some("HS256")]);
        let mut other = Draft::members(pair, algorithm, choices.pick(&[Some("k1"), Some("k2"), None]));
        if choices.byte() % 8 == 1 {
            set(&mut other, "use", "\"enc\"");
        }
        draft.others.push(other);
    }
    if choices.byte() % 4 == 1 {
        draft.others.push(draft.jwk.clone());
    }
}

fn header_escaped(draft: &mut Draft, choices: &mut Choices<'_>) {
    let at = choices.below(draft.header.len().max(1));
    if let Some((name, _)) = draft.header.get_mut(at) {
        *name = match choices.below(3) {
            0 => escape_first(name),
            1 => name.to_uppercase(),
            _ => format!("{name} "),
        };
    }
}

fn header_crit(draft: &mut Draft, choices: &mut Choices<'_>) {
    let values = [
        "[]",
        "[\"exp\"]",
        "[\"alg\"]",
        "[\"b64\"]",
        "[\"b64\",\"b64\"]",
        "[\"http://example.test/x\"]",
        "\"exp\"",
        "null",
        "{}",
        "[1]",
        "[null]",
        "[\"\"]",
        "true",
        "[\"x\"]",
    ];
    set(&mut draft.header, "crit", choices.pick(&values));
    if choices.byte() & 1 == 1 {
        set(
            &mut draft.header,
            choices.pick(&["exp", "x", "http://example.test/x", "b64"]),
            choices.pick(&["1", "true", "false", "null"]),
        );
    }
}

fn header_b64(draft: &mut Draft, choices: &mut Choices<'_>) {
    set(&mut draft.header, "b64", choices.pick(&["false", "true", "null", "0", "\"false\""]));
    if choices.byte() & 1 == 0 {
        set(&mut draft.header, "crit", "[\"b64\"]");
    }
}

/// What two JSON readers may see differently.
fn bend_json(text: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let behind: [&[u8]; 9] = [b"{}", b"x", b"\0", b" ", b"\n\t", b"}", b",", b"//", b"\xef\xbb\xbf"];
    let before: [&[u8]; 6] = [b"\xef\xbb\xbf", b" ", b"\r\n", b"\0", b"\xa0", b"/**/"];
    let whole: [&[u8]; 8] = [b"", b"[]", b"null", b"{}", b"\"x\"", b"1", b"{\"alg\":\"none\"}", b"{'alg':'none'}"];
    let last = text.len().saturating_sub(1);
    match choices.below(7) {
        0 => text.extend_from_slice(choices.pick(&behind)),
        1 => *text = [choices.pick(&before), text.as_slice()].concat(),
        2 => *text = choices.pick(&whole).to_vec(),
        3 => {
            let into: [&[u8]; 9] = [
                b",",
                b",\"x\":NaN",
                b",\"x\":01",
                b",\"x\":+1",
                b",\"x\":.5",
                b",\"x\":\"\xff\"",
                b",\"x\":\"\x01\"",
                b",\"x\":'a'",
                b",\"x\":\"\\x41\"",
            ];
            text.splice(last..last, choices.pick(&into).iter().copied());
        }
        4 => {
            let blank: [&[u8]; 4] = [b" ", b"\n", b"\x0c", b"\xc2\xa0"];
            text.splice(1.min(last)..1.min(last), choices.pick(&blank).iter().copied());
        }
        5 => *text = text.iter().flat_map(|byte| [*byte, 0]).collect(),
        _ => bend_bytes(text, choices),
    }
}

fn bend_bytes(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let at = choices.below(bytes.len().max(1));
    match choices.below(10) {
        0 => bytes.push(choices.byte()),
        1 => bytes.insert(0, 0),
        2 => drop(bytes.pop()),
        3 if !bytes.is_empty() => drop(bytes.remove(0)),
        4 => bytes.fill(0),
        5 => bytes.clear(),
        6 => bytes.extend_from_within(..),
        7 => bytes.fill(0xff),
        8 => bytes.reverse(),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (choices.byte() & 7);
            }
        }
    }
}

fn sign_hmac(draft: &mut Draft, choices: &mut Choices<'_>) {
    let (algorithm, name) = choices.pick(&[
        (hmac::HMAC_SHA256, "\"HS256\""),
        (hmac::HMAC_SHA384, "\"HS384\""),
        (hmac::HMAC_SHA512, "\"HS512\""),
        (hmac::HMAC_SHA256, ""),
    ]);
    if !name.is_empty() {
        set(&mut draft.header, "alg", name);
        draft.parts[0] = encode(write(&draft.header).as_bytes());
    }
    let mut forms = draft.pair.public_forms();
    forms.push(draft.key_text.clone().into_bytes());
    let secret = hmac::Key::new(algorithm, choices.one_of::<Vec<u8>>(&forms));
    draft.signature = hmac::sign(&secret, draft.parts.join(".").as_bytes()).as_ref().to_vec();
}

fn sign_other(draft: &mut Draft, choices: &mut Choices<'_>) {
    let pair = choices.one_of(pairs());
    draft.signature = pair.sign(pair.algorithms()[0], draft.parts.join(".").as_bytes());
}

fn sign_unencoded(draft: &mut Draft, choices: &mut Choices<'_>) {
    let input = [draft.parts[0].as_bytes(), b".", &draft.claims_text].concat();
    draft.signature = draft.pair.sign(draft.algorithm, &input);
    if choices.byte() & 1 == 1 {
        draft.parts[1] = String::from_utf8_lossy(&draft.claims_text).into_owned();
    }
}

/// ECDSA's n - s is as good a signature as s; s + n and Ed25519's S + L only where the range is not looked at.
fn other_s(draft: &mut Draft, choices: &mut Choices<'_>) {
    let order = numbers::number(match draft.pair.kind {
        Kind::P256 => numbers::P256,
        Kind::P384 => numbers::P384,
        Kind::P521 => numbers::P521,
        Kind::Ed25519 => numbers::ED25519,
        Kind::Rsa => return,
    });
    let (r, s) = draft.signature.split_at(draft.signature.len() / 2);
    let (mut r, mut s) = (r.to_vec(), s.to_vec());
    if draft.pair.kind == Kind::Ed25519 {
        s.reverse();
        s = numbers::plus(&s, &order);
        s.reverse();
    } else {
        match choices.below(4) {
            0 => s = numbers::minus(&order, &s),
            1 => s = numbers::plus(&s, &order),
            2 => r = numbers::plus(&r, &order),
            _ => r = numbers::minus(&order, &r),
        }
    }
    draft.signature = [r, s].concat();
}

/// r and s swapped, zero, or the order itself. // CVE-2022-21449
fn bend_halves(draft: &mut Draft, choices: &mut Choices<'_>) {
    let (r, s) = draft.signature.split_at(draft.signature.len() / 2);
    let zero = vec![0; r.len()];
    let mut one = zero.clone();
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    draft.signature = match choices.below(6) {
        0 => [s, r].concat(),
        1 => [&zero, s].concat(),
        2 => [r, &zero].concat(),
        3 => [&zero[..], &zero].concat(),
        4 => [&one[..], &one].concat(),
        _ => [&[0], r, &[0], s].concat(),
    };
}

fn part(draft: &mut Draft, choices: &mut Choices<'_>, bend: fn(&mut String, &mut Choices<'_>)) {
    let at = choices.below(draft.parts.len());
    bend(&mut draft.parts[at], choices);
}

fn at_character(text: &str, choices: &mut Choices<'_>) -> usize {
    let at = choices.below(text.len() + 1);
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn insert(text: &mut String, choices: &mut Choices<'_>) {
    let at = at_character(text, choices);
    text.insert_str(
        at,
        choices.pick(&[" ", "\n", "\r\n", "\t", "=", "%3D", "\0", "\u{a0}", "é", "-", "~", "\u{feff}"]),
    );
}

/// Another spelling of the same bytes, for a reader that does not look at what is left over. // RFC 4648 §3.5
fn last_bits(text: &mut String, choices: &mut Choices<'_>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let unused = match text.len() % 4 {
        2 => 16,
        3 => 4,
        _ => return,
    };
    let Some(last) = text.pop() else { return };
    let value = ALPHABET.iter().position(|known| char::from(*known) == last).unwrap_or(0);
    text.push(char::from(ALPHABET[value ^ (1 + choices.below(unused - 1))]));
}

fn cut_or_grow(text: &mut String, choices: &mut Choices<'_>) {
    match choices.below(4) {
        0 => drop(text.pop()),
        1 => text.push('A'),
        2 => text.clear(),
        _ => *text = text.repeat(2),
    }
}

fn replace(text: &mut String, choices: &mut Choices<'_>) {
    let at = at_character(text, choices);
    if let Some(old) = text[at..].chars().next() {
        let new = choices.pick(&["A", "B", "-", "_", ".", "é", "\0", "="]);
        text.replace_range(at..at + old.len_utf8(), new);
    }
}

fn more_or_less(draft: &mut Draft, choices: &mut Choices<'_>) {
    let again = draft.parts[choices.below(draft.parts.len())].clone();
    match choices.below(6) {
        0 => drop(draft.parts.pop()),
        1 => draft.parts.push(again),
        2 => draft.parts.insert(0, again),
        3 => draft.parts.push(String::new()),
        4 => draft.parts.insert(1, String::new()),
        _ => draft.parts.swap(0, 1),
    }
}

fn around(draft: &mut Draft, choices: &mut Choices<'_>) {
    match choices.below(4) {
        0 => draft.token.push_str(choices.pick(&[" ", "\n", "\0", ".", "=", "{}"])),
        1 => draft.token.insert_str(0, choices.pick(&[" ", "\n", "Bearer ", "\u{feff}", "."])),
        2 => draft.token = draft.token.to_uppercase(),
        _ => draft.token = draft.token.replace('.', choices.pick(&["..", " .", "%2E", "\u{ff0e}"])),
    }
}

/// A token that is compact to one reader and JSON to another. // CVE-2022-39227
fn serialized(draft: &mut Draft, choices: &mut Choices<'_>) {
    let [header, payload, signature] = draft.parts.as_slice() else { return };
    draft.token = match choices.below(2) {
        0 => json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
        _ => format!(r#"{{"protected":"{header}","x":".{payload}.","payload":"{payload}","signature":"{signature}"}}"#),
    };
}
