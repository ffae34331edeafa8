//! What does a verified statement claim, and does it hold now, here, for us? Typed readers and the registered checks.
//!
//! Trusts that the map came out of the strict parser and, for a decision, out of a [`super::Payload`]. Never converts
//! one type into another: a claim of the wrong type is refused and not taken for absent (CVE-2026-25537).

use serde_json::{Map, Number, Value};

/// The largest leeway that a rule may give, in seconds.
pub const MAX_LEEWAY_S: i64 = 60;
/// The longest identifier (`sub`, `jti`, `client_id`) that is read, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 512;

const MAX_TIME_S: i64 = 1 << 53;

/// Why a claim does not hold. Names the claim, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    #[error("the claim `{0}` is missing")]
    Missing(String),
    #[error("the claim `{0}` has the wrong type or form")]
    WrongType(String),
    #[error("the claim `{0}` is out of range")]
    OutOfRange(String),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token was issued in the future")]
    IssuedInFuture,
    #[error("the token lives longer than allowed")]
    LifeTooLong,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token is from another issuer")]
    WrongIssuer,
}

impl ClaimError {
    /// A stable code for records, metrics and tests.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "claim_missing",
            Self::WrongType(_) => "claim_wrong_type",
            Self::OutOfRange(_) => "claim_out_of_range",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::LifeTooLong => "life_too_long",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
        }
    }
}

/// A reader over a claims object. `Ok(None)` means absent; `null` is not absent but of the wrong type.
#[derive(Clone, Copy)]
pub struct Claims<'a>(&'a Map<String, Value>);

impl<'a> Claims<'a> {
    /// Over any object of the strict parser; [`super::Payload::claims`] is the way for tokens.
    #[must_use]
    pub const fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    /// A string, possibly empty.
    ///
    /// # Errors
    /// `WrongType`.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, ClaimError> {
        self.read(name, Value::as_str)
    }

    /// A string that must be there and not be empty.
    ///
    /// # Errors
    /// `Missing`, `WrongType`.
    pub fn required_text(&self, name: &str) -> Result<&'a str, ClaimError> {
        match self.text(name)? {
            Some("") => Err(ClaimError::WrongType(name.to_owned())),
            text => text.ok_or_else(|| ClaimError::Missing(name.to_owned())),
        }
    }

    /// A string that names somebody or something: not empty, at most [`MAX_IDENTIFIER_BYTES`], no control characters (it
    /// will stand in records and headers).
    ///
    /// # Errors
    /// `WrongType`.
    pub fn identifier(&self, name: &str) -> Result<Option<&'a str>, ClaimError> {
        match self.text(name)? {
            Some(text)
                if text.is_empty() || text.len() > MAX_IDENTIFIER_BYTES || text.chars().any(char::is_control) =>
            {
                Err(ClaimError::WrongType(name.to_owned()))
            }
            text => Ok(text),
        }
    }

    /// As [`Self::identifier`], and it must be there.
    ///
    /// # Errors
    /// `Missing`, `WrongType`.
    pub fn required_identifier(&self, name: &str) -> Result<&'a str, ClaimError> {
        self.identifier(name)?.ok_or_else(|| ClaimError::Missing(name.to_owned()))
    }

    /// A NumericDate in whole seconds since 1970, fractions cut off; 0 to 2^53. // RFC 7519 §2
    ///
    /// # Errors
    /// `WrongType` for what is no number, `OutOfRange` for a negative or huge one.
    pub fn time(&self, name: &str) -> Result<Option<i64>, ClaimError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(ClaimError::WrongType(name.to_owned()));
        };
        whole_seconds(number).map(Some).ok_or_else(|| ClaimError::OutOfRange(name.to_owned()))
    }

    /// As [`Self::time`], and it must be there.
    ///
    /// # Errors
    /// `Missing`, `WrongType`, `OutOfRange`.
    pub fn required_time(&self, name: &str) -> Result<i64, ClaimError> {
        self.time(name)?.ok_or_else(|| ClaimError::Missing(name.to_owned()))
    }

    /// A whole number from 0, exact.
    ///
    /// # Errors
    /// `WrongType`, also for a fraction or a negative number.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, ClaimError> {
        self.read(name, Value::as_u64)
    }

    /// # Errors
    /// `WrongType`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ClaimError> {
        self.read(name, Value::as_bool)
    }

    /// A nested object, such as `cnf` or `act`.
    ///
    /// # Errors
    /// `WrongType`.
    pub fn object(&self, name: &str) -> Result<Option<Self>, ClaimError> {
        self.read(name, |value| value.as_object().map(Self))
    }

    /// A list of strings, such as `roles`; it may be empty.
    ///
    /// # Errors
    /// `WrongType`, also when one member is no string.
    pub fn text_list(&self, name: &str) -> Result<Option<Vec<String>>, ClaimError> {
        self.read(name, |value| strings(value.as_array()?))
    }

    /// One string, or a list of strings that is not empty, such as `aud`. // RFC 7519 §4.1.3
    ///
    /// # Errors
    /// `WrongType`, also when one member is no string or the list is empty.
    pub fn text_or_list(&self, name: &str) -> Result<Option<Vec<String>>, ClaimError> {
        self.read(name, |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(members) if !members.is_empty() => strings(members),
            _ => None,
        })
    }

    fn read<T>(&self, name: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, ClaimError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| ClaimError::WrongType(name.to_owned())),
        }
    }
}

fn strings(members: &[Value]) -> Option<Vec<String>> {
    members.iter().map(|member| member.as_str().map(str::to_owned)).collect()
}

/// Compared before it is converted: nothing wraps round, whatever the sender wrote.
fn whole_seconds(number: &Number) -> Option<i64> {
    if let Some(seconds) = number.as_i64() {
        return (0..=MAX_TIME_S).contains(&seconds).then_some(seconds);
    }
    let seconds = number.as_f64()?;
    // 2^53 is exact as f64; a u64 beyond i64 arrives here and is too large.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "in range by the comparison")]
    (0.0..=MAX_TIME_S as f64).contains(&seconds).then_some(seconds as i64)
}

/// How strictly the times of a token are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRules {
    leeway_s: i64,
    max_life_s: i64,
}

impl TimeRules {
    /// `leeway_s` for differing clocks, 0 to [`MAX_LEEWAY_S`]; `max_life_s` is the longest life that a token may have, from 1.
    /// `None` when out of these ranges.
    #[must_use]
    pub fn new(leeway_s: i64, max_life_s: i64) -> Option<Self> {
        let fits = (0..=MAX_LEEWAY_S).contains(&leeway_s) && (1..=MAX_TIME_S).contains(&max_life_s);
        fits.then_some(Self { leeway_s, max_life_s })
    }
}

impl Default for TimeRules {
    /// 10 s (FAPI 2.0 SP §5.3.2.1 asks for at least that) and one day.
    fn default() -> Self {
        Self { leeway_s: 10, max_life_s: 86_400 }
    }
}

/// The times of a token, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub iat: Option<i64>,
    pub nbf: Option<i64>,
    pub exp: i64,
}

/// Is the token alive at `now_s`, and was it made to live no longer than allowed? `exp` is required.
///
/// # Errors
/// `Missing`, `WrongType`, `OutOfRange`, `Expired`, `NotYetValid`, `IssuedInFuture`, `LifeTooLong`.
pub fn check_times(claims: Claims<'_>, now_s: i64, rules: TimeRules) -> Result<Times, ClaimError> {
    let times = Times { iat: claims.time("iat")?, nbf: claims.time("nbf")?, exp: claims.required_time("exp")? };
    // RFC 7519 §4.1.4: not on or after `exp`.
    if now_s >= times.exp.saturating_add(rules.leeway_s) {
        return Err(ClaimError::Expired);
    }
    let latest = now_s.saturating_add(rules.leeway_s);
    // RFC 7519 §4.1.5
    if times.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(ClaimError::NotYetValid);
    }
    // RFC 7519 §4.1.6: a date in the future would stretch the life that is measured from it.
    if times.iat.is_some_and(|iat| iat > latest) {
        return Err(ClaimError::IssuedInFuture);
    }
    // Without `iat` the life that is left is all that can be judged.
    if times.exp.saturating_sub(times.iat.unwrap_or(now_s)) > rules.max_life_s {
        return Err(ClaimError::LifeTooLong);
    }
    Ok(times)
}

/// Is the token for one of `expected`? Compared byte by byte: no prefixes, no wildcards, no case. // RFC 7519 §4.1.3
///
/// # Errors
/// `Missing`, `WrongType`, `WrongAudience`.
pub fn check_audience(claims: Claims<'_>, expected: &[impl AsRef<str>]) -> Result<(), ClaimError> {
    let missing = || ClaimError::Missing("aud".to_owned());
    let audiences = claims.text_or_list("aud")?.ok_or_else(missing)?;
    if audiences.iter().any(|audience| expected.iter().any(|ours| ours.as_ref() == audience)) {
        return Ok(());
    }
    Err(ClaimError::WrongAudience)
}

/// Is `iss` exactly `expected`? // RFC 9068 §4, RFC 8725 §3.8
///
/// # Errors
/// `Missing`, `WrongType`, `WrongIssuer`.
pub fn check_issuer(claims: Claims<'_>, expected: &str) -> Result<(), ClaimError> {
    if claims.required_text("iss")? == expected {
        return Ok(());
    }
    Err(ClaimError::WrongIssuer)
}

/// Whom is the token about? // RFC 9068 §2.2
///
/// # Errors
/// `Missing`, `WrongType`.
pub fn check_subject<'a>(claims: Claims<'a>) -> Result<&'a str, ClaimError> {
    claims.required_identifier("sub")
}
