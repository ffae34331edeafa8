//! Which cookies are ours? `__Host-` names: no other host, port or path can plant them (L06), and no script reads them.
//!
//! Browsers and curl accept `Secure` on `http://localhost` too, with exceptions (Safari): for those, an issuer that is
//! plain HTTP on loopback may set `secure_cookies = false` and gets plain names instead.

use crate::Issuer;
use http::{HeaderMap, HeaderValue, header};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The login.
    Session,
    /// Ties forms to a browser that is not logged in yet.
    Form,
}

impl Cookie {
    pub(crate) const fn name(self, issuer: &Issuer) -> &'static str {
        match (self, issuer.config.secure_cookies) {
            (Self::Session, true) => "__Host-trigate",
            (Self::Session, false) => "trigate_session",
            (Self::Form, true) => "__Host-trigate-form",
            (Self::Form, false) => "trigate_form",
        }
    }

    /// The value, if exactly one cookie of this name came: of two, one was planted.
    pub(crate) fn read<'a>(self, issuer: &Issuer, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(issuer);
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (have, value) = pair.trim().split_once('=')?;
            (have == name).then_some(value)
        });
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Lives as long as the browser; how long a login lasts is judged here, not there.
    pub(crate) fn set(self, issuer: &Issuer, value: &str) -> Option<HeaderValue> {
        self.line(issuer, value, "")
    }

    pub(crate) fn clear(self, issuer: &Issuer) -> Option<HeaderValue> {
        self.line(issuer, "", "; Max-Age=0")
    }

    fn line(self, issuer: &Issuer, value: &str, end: &str) -> Option<HeaderValue> {
        let secure = if issuer.config.secure_cookies { "; Secure" } else { "" };
        let mut line = HeaderValue::from_str(&format!(
            "{}={value}; Path=/{secure}; HttpOnly; SameSite=Lax{end}",
            self.name(issuer)
        ))
        .ok()?;
        line.set_sensitive(true);
        Some(line)
    }
}
