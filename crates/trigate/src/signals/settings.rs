//! Which issuers may tell us what, and where do they say it? The file's words with their secrets read.

use crate::config::{Config, LogoutEnds, key_source, read_secret};
use std::collections::HashMap;
use trigate_core::credential::Digest;
use trigate_gates::KeySource;
use zeroize::Zeroizing;

/// In force until the next reload.
#[derive(Default)]
pub struct Settings {
    /// By the issuer's name.
    pub logouts: HashMap<String, Logout>,
    /// By the stream's name.
    pub streams: HashMap<String, Stream>,
    /// Keys of transmitters that are no trusted issuers.
    pub keys: Vec<(String, KeySource)>,
}

pub struct Logout {
    pub issuer: String,
    pub audience: Vec<String>,
    pub ends: LogoutEnds,
    pub untyped: bool,
}

pub struct Stream {
    pub issuer: String,
    /// The issuer whose tokens the events end.
    pub about: String,
    pub audience: Vec<String>,
    pub ends: LogoutEnds,
    /// Of the whole `Authorization` header. // SECURITY: digests are compared, so that time tells nothing.
    pub push: Option<Digest>,
    pub poll: Option<Poll>,
}

pub struct Poll {
    pub url: String,
    pub token: Zeroizing<String>,
    pub every_s: u32,
}

impl Settings {
    pub fn of(config: &Config) -> Result<Self, String> {
        let mut settings = Self::default();
        for issuer in &config.file.trusted_issuer {
            let (Some(name), Some(logout)) = (&issuer.name, &issuer.logout) else { continue };
            let rule = Logout {
                issuer: issuer.url.clone(),
                audience: logout.audience.0.clone(),
                ends: logout.ends.unwrap_or(LogoutEnds::User),
                untyped: logout.untyped,
            };
            settings.logouts.insert(name.clone(), rule);
        }
        for stream in &config.file.signals {
            let secret = |file: &Option<String>, env: &Option<String>| {
                let said = file.is_some() || env.is_some();
                said.then(|| read_secret(config, file.as_deref(), env.as_deref())).transpose()
            };
            let push = secret(&stream.push_secret_file, &stream.push_secret_env)?;
            let token = secret(&stream.poll_token_file, &stream.poll_token_env)?;
            let poll = stream.poll_url.clone().zip(token);
            let rule = Stream {
                issuer: stream.issuer.clone(),
                about: stream.about.clone().unwrap_or_else(|| stream.issuer.clone()),
                audience: stream.audience.0.clone(),
                ends: stream.ends.unwrap_or(LogoutEnds::User),
                push: push.map(|secret| Digest::of(&secret)),
                poll: poll.map(|(url, token)| Poll { url, token, every_s: stream.poll_every_s.unwrap_or(10).max(1) }),
            };
            settings.streams.insert(stream.name.clone(), rule);
            settings.keys.push((stream.issuer.clone(), key_source(config, stream.jwks.as_deref())));
        }
        Ok(settings)
    }
}
