//! Whose certificate counts for this request? The connection's own, or the one that a configured proxy tells of.
//!
//! SECURITY: headers are read from proxies alone, and a proxy's own certificate never stands for its client (M10).

use crate::edge::{
    Connection,
    client_cert::{self, Malformed},
    trust::{Presented, Trust, TrustSet, unread},
};
use http::HeaderMap;
use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};
use trigate_core::{Timestamp, credential::Digest, reason::Reason};
use trigate_gates::{ClientCertificate, Known};

/// The certificates of one core's requests.
pub struct ClientCertificates {
    trust: Arc<Trust>,
    /// What proxies told of, by the hash of what they wrote: judged once, not once a request.
    told: RefCell<HashMap<Digest, Rc<Presented>>>,
}

/// The certificate that a request is judged with.
pub struct Shown {
    pub certificate: Arc<ClientCertificate>,
    told: Option<Rc<Presented>>,
}

impl Shown {
    /// The chain as it was presented.
    pub fn chain<'a>(&'a self, connection: &'a Connection) -> &'a [Vec<u8>] {
        let presented = self.told.as_deref().or(connection.certificate.as_ref());
        presented.map_or(&[], Presented::chain)
    }
}

/// Certificates that proxies told of, kept on one core.
const KEPT: usize = 1_024;

impl ClientCertificates {
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust, told: RefCell::default() }
    }

    pub fn of(
        &self,
        headers: &HeaderMap,
        host: &str,
        connection: &Connection,
        known: &Known,
        now: Timestamp,
    ) -> Option<Shown> {
        let trust = self.trust.now();
        if trust.knows_proxies() && is_proxy(&trust, connection, known, now) {
            return self.told(headers, &trust, host, now);
        }
        let own = connection.certificate.as_ref()?;
        Some(Shown { certificate: own.at(&trust, host, now), told: None })
    }

    fn told(&self, headers: &HeaderMap, trust: &TrustSet, host: &str, now: Timestamp) -> Option<Shown> {
        if !headers.contains_key(client_cert::CLIENT_CERT) && !headers.contains_key(client_cert::CLIENT_CERT_CHAIN) {
            return None;
        }
        // `read` has one, since one of the headers is there.
        let read = || client_cert::read(headers)?.ok_or(Malformed);
        Some(self.judged(digest(headers), read, trust, host, now))
    }

    /// What a proxy told in words of its own, on a listener for proxies alone; `key` is the text and its form.
    pub fn told_as(
        &self,
        key: &[u8],
        read: impl FnOnce() -> Result<Presented, Malformed>,
        host: &str,
        now: Timestamp,
    ) -> Shown {
        self.judged(Digest::of_bytes(key), read, &self.trust.now(), host, now)
    }

    fn judged(
        &self,
        id: Digest,
        read: impl FnOnce() -> Result<Presented, Malformed>,
        trust: &TrustSet,
        host: &str,
        now: Timestamp,
    ) -> Shown {
        let known = self.told.borrow().get(&id).cloned();
        let presented = match known {
            Some(presented) => presented,
            None => match read() {
                Ok(presented) => self.keep(id, presented),
                Err(Malformed) => {
                    let certificate = Arc::new(unread(id.bytes(), Reason::CertificateInvalid));
                    return Shown { certificate, told: None };
                }
            },
        };
        Shown { certificate: presented.at(trust, host, now), told: Some(presented) }
    }

    fn keep(&self, id: Digest, presented: Presented) -> Rc<Presented> {
        let mut told = self.told.borrow_mut();
        if told.len() >= KEPT {
            told.clear();
        }
        let presented = Rc::new(presented);
        told.insert(id, Rc::clone(&presented));
        presented
    }
}

/// A proxy that proves itself by a certificate does so with one that is good everywhere, and was not revoked.
fn is_proxy(trust: &TrustSet, connection: &Connection, known: &Known, now: Timestamp) -> bool {
    let own = connection.certificate.as_ref().map(|own| own.at(trust, "", now));
    let own = own.filter(|own| known.check_certificate(own).is_ok());
    trust.is_proxy(connection.peer.ip(), own.as_deref())
}

fn digest(headers: &HeaderMap) -> Digest {
    let mut text = Vec::new();
    for name in [client_cert::CLIENT_CERT, client_cert::CLIENT_CERT_CHAIN] {
        for value in headers.get_all(&name) {
            text.extend(name.as_str().bytes().chain([0]));
            text.extend(value.as_bytes().iter().copied().chain([0]));
        }
    }
    Digest::of_bytes(&text)
}
