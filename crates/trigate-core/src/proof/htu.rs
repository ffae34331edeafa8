//! Are these two addresses one? Syntax-based and scheme-based normal form of an http(s) URL (RFC 3986 §6.2.2, §6.2.3),
//! without query and fragment.
//!
//! Never resolves a name. What could be read in two ways (user names, blanks, backslashes) has no normal form.

/// The address of a resource in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// Reads an absolute URL.
    pub fn parse(url: &str) -> Option<Self> {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let url = url.get(..end)?;
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        Self::of(&format!("{scheme}://{authority}"), path)
    }

    /// `origin` is scheme, host and port; `path` as it stands in the request.
    pub fn of(origin: &str, path: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "https" => "443",
            "http" => "80",
            _ => return None,
        };
        let authority = normal_authority(authority, default)?;
        Some(Self(format!("{scheme}://{authority}{}", normal_path(path)?)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower case, without the scheme's own port and without an empty one. // RFC 3986 §6.2.3
fn normal_authority(authority: &str, default: &str) -> Option<String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    if host.is_empty() || !host.bytes().all(plain) || !port.bytes().all(|b| b.is_ascii_digit()) || port.len() > 5 {
        return None;
    }
    let host = host.to_ascii_lowercase();
    Some(if port.is_empty() || port == default { host } else { format!("{host}:{port}") })
}

/// Escapes that need none are undone, the others are written in capitals, dots are walked. // RFC 3986 §6.2.2
fn normal_path(path: &str) -> Option<String> {
    let mut text = String::with_capacity(path.len() + 1);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
                let code = u8::try_from(high * 16 + low).ok()?;
                if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
                    text.push(char::from(code));
                } else {
                    text.push_str(&format!("%{code:02X}"));
                }
            }
            b'!'..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(without_dots(&text))
}

// RFC 3986 §5.2.4
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
