//! Whom do we trust to name machines, now? Authorities and revocation lists by host, swapped whole; and what a
//! connection's certificate is worth by them.
//!
//! INVARIANT: a verdict is of one epoch. After any change of authorities or lists the next request judges again, also on
//! connections that were opened before.

use crate::config::{self, Authorities, Config, Mtls, Usage};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use std::{
    cell::RefCell,
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use trigate_core::{Timestamp, certificate::ClientCertificate, credential::Digest, reason::Reason};
use trigate_x509::{Certificate, ClientUse, Crl, CrlRule, Fault, MAX_CRL_BYTES, Policy, Verified};

/// Why a set of authorities cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read `{0}`: {1}")]
    Unreadable(String, String),
    #[error("the client authorities in `{0}` cannot be used: {1}")]
    Authorities(String, String),
    #[error("the revocation list `{0}` cannot be used: {1}")]
    List(String, Fault),
}

/// The set in force, and what was fetched for it.
#[derive(Debug)]
pub struct Trust {
    current: ArcSwap<TrustSet>,
    epoch: AtomicU64,
    /// The last good lists by URL: kept on any error, until they are too old to count.
    fetched: Mutex<HashMap<String, Arc<Vec<Crl>>>>,
}

/// Authorities by host, made whole from the file.
#[derive(Debug, Default)]
pub struct TrustSet {
    epoch: u64,
    everywhere: Option<Arc<Bundle>>,
    hosts: HashMap<String, Arc<Bundle>>,
    proxies: Vec<IpNet>,
    proxy_names: Vec<String>,
    /// What clients leave out.
    intermediates: Vec<Vec<u8>>,
    urls: Vec<String>,
    files: Vec<PathBuf>,
    refresh_s: u32,
}

/// Seconds between looks at lists by URL, where the file says nothing else.
const REFRESH_S: u32 = 60;

#[derive(Debug)]
struct Bundle {
    roots: Vec<Certificate>,
    lists: Vec<Arc<Vec<Crl>>>,
    policy: Policy,
}

impl Default for Trust {
    fn default() -> Self {
        Self { current: ArcSwap::default(), epoch: AtomicU64::new(0), fetched: Mutex::default() }
    }
}

impl Trust {
    pub fn now(&self) -> Arc<TrustSet> {
        self.current.load_full()
    }

    /// Reads the files that this section of the configuration names. Nothing is in force yet.
    ///
    /// # Errors
    /// A file that cannot be read or used: the set in force stays (M13).
    pub fn prepare(&self, config: &Config, mtls: Option<&Mtls>) -> Result<TrustSet, TrustError> {
        let Some(mtls) = mtls else { return Ok(TrustSet::default()) };
        let mut set = TrustSet {
            proxies: mtls.proxies.iter().filter_map(network).collect(),
            proxy_names: mtls.proxy_names.0.clone(),
            refresh_s: mtls.refresh_s.unwrap_or(REFRESH_S),
            ..TrustSet::default()
        };
        if let Some(path) = &mtls.intermediates {
            let path = config.resolve(path);
            set.intermediates = certificates(&path)?;
            set.files.push(path);
        }
        set.everywhere = Some(Arc::new(self.bundle(config, mtls.authorities(), &mut set)?));
        for host in &mtls.host {
            let bundle = Arc::new(self.bundle(config, host.authorities(), &mut set)?);
            set.hosts.extend(host.name.iter().map(|name| (name.to_ascii_lowercase(), Arc::clone(&bundle))));
        }
        Ok(set)
    }

    /// Takes a set into force: every verdict before is void.
    pub fn put(&self, mut set: TrustSet) {
        set.epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.current.store(Arc::new(set));
    }

    /// Keeps lists that were fetched; they count with the next set.
    ///
    /// # Errors
    /// They cannot be read: those before are kept.
    pub fn keep_fetched(&self, url: &str, bytes: &[u8]) -> Result<(), TrustError> {
        let lists = trigate_x509::read_crls(bytes).map_err(|fault| TrustError::List(url.to_owned(), fault))?;
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), Arc::new(lists));
        Ok(())
    }

    fn bundle(&self, config: &Config, of: Authorities<'_>, set: &mut TrustSet) -> Result<Bundle, TrustError> {
        let path = config.resolve(of.ca);
        let roots = authorities(&path)?;
        set.files.push(path);
        let mut lists = Vec::new();
        for place in of.crl.iter() {
            if config::is_url(place) {
                set.urls.push(place.to_owned());
                lists.extend(self.fetched.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned());
            } else {
                let path = config.resolve(place);
                lists.push(Arc::new(read_lists(&path)?));
                set.files.push(path);
            }
        }
        let usage = match of.usage {
            None | Some(Usage::Client) => ClientUse::Said,
            Some(Usage::ClientOrAny) => ClientUse::SaidOrAny,
            Some(Usage::NotDenied) => ClientUse::NotDenied,
        };
        let crl = CrlRule { required: of.crl_required(), grace_s: of.crl_grace_s };
        Ok(Bundle { roots, lists, policy: Policy { usage, crl, trust_domain: of.trust_domain.map(str::to_owned) } })
    }
}

impl TrustSet {
    pub fn is_configured(&self) -> bool {
        self.everywhere.is_some()
    }

    /// Lists to fetch.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    pub fn refresh_s(&self) -> u32 {
        if self.refresh_s == 0 { REFRESH_S } else { self.refresh_s }
    }

    /// Files to watch.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Is there a host that would take this chain? All that a handshake can ask.
    ///
    /// # Errors
    /// The fault by the authorities of all hosts.
    pub fn accepts_anywhere(&self, chain: &[&[u8]], now: Timestamp) -> Result<(), Fault> {
        let everywhere = self.everywhere.as_deref().ok_or(Fault::UnknownIssuer)?;
        match self.judge(everywhere, chain, now) {
            Ok(_) => Ok(()),
            Err(_) if self.hosts.values().any(|bundle| self.judge(bundle, chain, now).is_ok()) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn judge(&self, bundle: &Bundle, chain: &[&[u8]], now: Timestamp) -> Result<Verified, Fault> {
        let chain: Vec<&[u8]> = chain.iter().copied().chain(self.intermediates.iter().map(Vec::as_slice)).collect();
        let lists: Vec<&Crl> = bundle.lists.iter().flat_map(|lists| lists.iter()).collect();
        trigate_x509::accept_chain(&chain, &bundle.roots, &lists, now, &bundle.policy)
    }

    /// SECURITY: the authorities of the host that the request is for, whatever name the handshake asked for (M12).
    fn bundle_of(&self, host: &str) -> Option<&Arc<Bundle>> {
        self.hosts.get(host).or(self.everywhere.as_ref())
    }

    /// May this peer speak for others? By its address, or by its own certificate.
    pub fn is_proxy(&self, peer: IpAddr, own: Option<&ClientCertificate>) -> bool {
        let named = |certificate: &ClientCertificate| {
            let uri = matches!(certificate.san_uris.as_slice(), [uri] if self.proxy_names.contains(uri));
            uri || certificate.san_dns.iter().any(|dns| self.proxy_names.contains(dns))
        };
        self.proxies.iter().any(|net| net.contains(&peer.to_canonical()))
            || own.is_some_and(|certificate| certificate.fault.is_none() && named(certificate))
    }

    pub fn knows_proxies(&self) -> bool {
        !self.proxies.is_empty() || !self.proxy_names.is_empty()
    }
}

/// A chain that somebody presented, with what it was found to be.
#[derive(Debug)]
pub struct Presented {
    chain: Vec<Vec<u8>>,
    verdicts: RefCell<Vec<Verdict>>,
}

#[derive(Debug)]
struct Verdict {
    epoch: u64,
    host: String,
    until: Timestamp,
    certificate: Arc<ClientCertificate>,
}

/// Verdicts kept for one connection: a client that asks for many hosts is judged more often.
const VERDICTS: usize = 8;

impl Presented {
    /// `None` without a certificate.
    pub fn new(chain: Vec<Vec<u8>>) -> Option<Self> {
        (!chain.is_empty()).then(|| Self { chain, verdicts: RefCell::default() })
    }

    /// The leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// What the certificate is worth at this host now. Judged once for each epoch and host, and again when a certificate
    /// or list that the verdict rests on ends.
    pub fn at(&self, trust: &TrustSet, host: &str, now: Timestamp) -> Arc<ClientCertificate> {
        let mut verdicts = self.verdicts.borrow_mut();
        let fits = |v: &&Verdict| v.epoch == trust.epoch && v.host == host && now <= v.until;
        if let Some(known) = verdicts.iter().find(fits) {
            return Arc::clone(&known.certificate);
        }
        let (certificate, until) = self.judge(trust, host, now);
        let certificate = Arc::new(certificate);
        verdicts.retain(|v| v.epoch == trust.epoch && v.host != host);
        if verdicts.len() >= VERDICTS {
            verdicts.clear();
        }
        verdicts.push(Verdict {
            epoch: trust.epoch,
            host: host.to_owned(),
            until,
            certificate: Arc::clone(&certificate),
        });
        certificate
    }

    fn judge(&self, trust: &TrustSet, host: &str, now: Timestamp) -> (ClientCertificate, Timestamp) {
        let chain: Vec<&[u8]> = self.chain.iter().map(Vec::as_slice).collect();
        let judged = trust.bundle_of(host).map_or(Err(Fault::UnknownIssuer), |bundle| trust.judge(bundle, &chain, now));
        match judged {
            Ok(verified) => (told(verified.leaf, None), verified.until),
            Err(fault) => {
                tracing::debug!(%fault, "a client certificate was not accepted");
                // A list may be late by a moment only: a refusal holds for a second.
                (self.refused(reason(fault)), now.plus_seconds(1))
            }
        }
    }

    fn refused(&self, reason: Reason) -> ClientCertificate {
        let leaf = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        match Certificate::read(leaf) {
            Ok(certificate) => told(certificate.facts().clone(), Some(reason)),
            Err(_) => unread(leaf, reason),
        }
    }
}

/// Why, in the words of records and answers.
const fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::Revoked => Reason::CertificateRevoked,
        Fault::CrlMissing | Fault::CrlStale | Fault::CrlUnusable(_) | Fault::CrlUnreadable(_) => {
            Reason::CertificateStatus
        }
        _ => Reason::CertificateInvalid,
    }
}

fn told(facts: trigate_x509::Facts, fault: Option<Reason>) -> ClientCertificate {
    ClientCertificate {
        fingerprint: facts.fingerprint,
        thumbprint: facts.thumbprint,
        key: facts.key,
        serial: facts.serial,
        issuer: facts.issuer,
        subject: facts.subject,
        san_uris: facts.san_uris,
        san_dns: facts.san_dns,
        san_ips: facts.san_ips,
        san_emails: facts.san_emails,
        not_before: facts.not_before,
        not_after: facts.not_after,
        fault,
    }
}

/// One of which nothing can be told but that it came.
pub fn unread(der: &[u8], reason: Reason) -> ClientCertificate {
    ClientCertificate {
        fingerprint: Digest::of_bytes(der).hex(),
        thumbprint: String::new(),
        key: String::new(),
        serial: String::new(),
        issuer: String::new(),
        subject: String::new(),
        san_uris: Vec::new(),
        san_dns: Vec::new(),
        san_ips: Vec::new(),
        san_emails: Vec::new(),
        not_before: Timestamp::default(),
        not_after: Timestamp::default(),
        fault: Some(reason),
    }
}

/// The facts of a certificate that somebody only asks about: judged as at a request for `host` at `now`.
pub fn examine(pem: &[u8], trust: &TrustSet, host: &str, now: Timestamp) -> Result<ClientCertificate, String> {
    let chain = trigate_x509::read_pem(pem).map_err(|fault| fault.to_string())?;
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let bundle = trust.bundle_of(host).ok_or("no authority is configured for certificates")?;
    let verified = trust.judge(bundle, &chain, now).map_err(|fault| fault.to_string())?;
    Ok(told(verified.leaf, None))
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let unreadable = |error: String| TrustError::Unreadable(path.display().to_string(), error);
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    // PEM is a third larger than what it carries.
    if size > 2 * MAX_CRL_BYTES as u64 {
        return Err(unreadable(format!("it has {size} bytes")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, TrustError> {
    let unusable = |fault: String| TrustError::Authorities(path.display().to_string(), fault);
    trigate_x509::read_pem(&read(path)?).map_err(|fault| unusable(fault.to_string()))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, TrustError> {
    let unusable = |fault: String| TrustError::Authorities(path.display().to_string(), fault);
    let roots: Vec<Certificate> = certificates(path)?
        .iter()
        .map(|der| Certificate::read_root(der))
        .collect::<Result<_, _>>()
        .map_err(|fault| unusable(fault.to_string()))?;
    // SECURITY: an empty set would make every certificate foreign, silently.
    if roots.is_empty() { Err(unusable("no certificate in it".into())) } else { Ok(roots) }
}

fn read_lists(path: &Path) -> Result<Vec<Crl>, TrustError> {
    trigate_x509::read_crls(&read(path)?).map_err(|fault| TrustError::List(path.display().to_string(), fault))
}
