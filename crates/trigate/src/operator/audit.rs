//! What did this user, key, application, client, session, certificate or address do, and why was it allowed? One query
//! over the index and over the records that are not indexed yet; and: is the trail whole?
//!
//! Looking is itself an act. Never shows a secret: records hold none.

use super::{Answer, By, Operator, OperatorError, blocking, parse_time, when};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
};
use trigate_audit::Reader;
use trigate_core::{
    audit::{Decision, Record},
    id::{KeyId, SessionId},
    port::{ActFilter, DecisionFilter, IndexedDecision},
    reason::Reason,
};

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionsQuery {
    /// Id or e-mail.
    pub user: Option<String>,
    /// Id or name.
    pub app: Option<String>,
    pub key: Option<String>,
    pub client: Option<String>,
    pub session: Option<String>,
    /// SHA-256 fingerprint, or the name that it was issued for.
    pub cert: Option<String>,
    pub address: Option<std::net::IpAddr>,
    /// A time, a date, or a span back from now such as `1h`.
    pub since: Option<String>,
    /// A reason's code such as `token.revoked`, or its first part: `token`.
    pub reason: Option<String>,
    pub limit: Option<u32>,
    /// For the acts' query alone; accepted here so that both take the same options.
    pub why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DecisionsAnswer {
    /// Newest first.
    pub decisions: Vec<DecisionView>,
    /// Further ones match; ask with a higher limit or a later `since`.
    pub more: bool,
    pub nodes: Vec<NodeProgress>,
    /// What the ids are called now.
    pub names: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DecisionView {
    pub time: String,
    /// Place in its node's chain.
    pub index: u64,
    /// Sentence for `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<&'static str>,
    #[serde(flatten)]
    pub decision: Decision,
}

/// How far a node's records are indexed, and how many were read from its segments for this answer.
#[derive(Clone, Debug, Serialize)]
pub struct NodeProgress {
    pub node: String,
    pub indexed_up_to: u64,
    pub read_from_segments: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActsQuery {
    pub user: Option<String>,
    pub app: Option<String>,
    pub client: Option<String>,
    /// The id of what was acted on: `key_…`, a fingerprint.
    pub target: Option<String>,
    pub since: Option<String>,
    pub limit: Option<u32>,
    pub why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActsAnswer {
    pub acts: Vec<ActView>,
    pub names: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActView {
    pub time: String,
    pub index: u64,
    #[serde(flatten)]
    pub act: trigate_core::Act,
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 10_000;

impl Operator {
    pub async fn find_decisions(&self, by: &By, query: DecisionsQuery) -> Answer<DecisionsAnswer> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let (filter, family) = self.read_query(&query, limit).await?;
        let act = self.act(by, "audit.query", "decisions").fact("question", describe(&query));
        self.store().record_act(act).await?.gives_only();

        let mut found = Vec::new();
        let mut nodes = Vec::new();
        for node in list_nodes(&self.parts.folder.audit()).await? {
            let indexed_up_to = self.store().indexed_up_to(&node).await?;
            let question = (filter.clone(), family.clone());
            let tail = read_tail(self.parts.folder.audit(), node.clone(), indexed_up_to, question).await?;
            nodes.push(NodeProgress { node, indexed_up_to, read_from_segments: tail.read });
            found.extend(tail.found);
        }
        // A family of reasons is no column of the index: ask for more and sift.
        let asked = if family.is_some() { MAX_LIMIT } else { limit.saturating_add(1) };
        let indexed = self.store().find_decisions(&DecisionFilter { limit: asked, ..filter.clone() }).await?;
        found.extend(indexed.into_iter().filter(|entry| matches(&filter, family.as_deref(), &entry.decision)));

        // An indexer that ran meanwhile must not show a record twice.
        let mut seen = BTreeSet::new();
        found.retain(|entry| seen.insert((entry.node.clone(), entry.index)));
        found.sort_by_key(|entry| std::cmp::Reverse((entry.decision.at, entry.index)));
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let names = self.names_of(found.iter().map(|entry| &entry.decision)).await?;
        Ok(DecisionsAnswer { decisions: found.into_iter().map(view).collect(), more, nodes, names })
    }

    pub async fn find_acts(&self, by: &By, query: ActsQuery) -> Answer<ActsAnswer> {
        let filter = ActFilter {
            user: match &query.user {
                Some(user) => Some(self.load_user(user).await?.id),
                None => None,
            },
            client: match &query.client {
                Some(client) => Some(self.load_client(client).await?.id),
                None => None,
            },
            application: match &query.app {
                Some(app) => Some(self.load_app(app).await?.id),
                None => None,
            },
            target: query.target.clone(),
            since: query.since.as_deref().map(|text| parse_time(text, self.now(), -1)).transpose()?,
            limit: query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
        };
        let act = self.act(by, "audit.query", "acts");
        self.store().record_act(act).await?.gives_only();
        let acts = self.store().find_acts(&filter).await?;
        let mut names = BTreeMap::new();
        for act in &acts {
            self.name_user(&mut names, act.act.user.as_ref()).await?;
            self.name_app(&mut names, act.act.application.as_ref()).await?;
        }
        let acts =
            acts.into_iter().map(|stored| ActView { time: when(stored.act.at), index: stored.index, act: stored.act });
        Ok(ActsAnswer { acts: acts.collect(), names })
    }

    async fn read_query(&self, query: &DecisionsQuery, limit: u32) -> Answer<(DecisionFilter, Option<String>)> {
        let mut filter = DecisionFilter { address: query.address, limit, ..DecisionFilter::default() };
        if let Some(user) = &query.user {
            filter.user = Some(self.load_user(user).await?.id);
        }
        if let Some(app) = &query.app {
            filter.application = Some(self.load_app(app).await?.id);
        }
        if let Some(client) = &query.client {
            filter.client = Some(self.load_client(client).await?.id);
        }
        if let Some(key) = &query.key {
            filter.key = Some(match self.load_key(key).await {
                Ok(key) => key.id,
                // Gone from the store, but not from the trail.
                Err(error) => KeyId::parse(key).map_err(|_| error)?,
            });
        }
        if let Some(session) = &query.session {
            filter.session = Some(
                SessionId::parse(session)
                    .map_err(|_| OperatorError::missing("session", session, "name its id (`ses_…`)"))?,
            );
        }
        if let Some(cert) = &query.cert {
            filter.certificate = Some(self.fingerprint_of(cert).await?);
        }
        filter.since = query.since.as_deref().map(|text| parse_time(text, self.now(), -1)).transpose()?;
        let mut family = None;
        if let Some(reason) = &query.reason {
            if Reason::from_code(reason).is_some() {
                filter.reason = Some(reason.clone());
            } else if Reason::ALL.iter().any(|known| known.code().starts_with(&format!("{reason}."))) {
                family = Some(format!("{reason}."));
            } else {
                return Err(OperatorError::invalid(
                    format!("`{}` is no reason", reason.escape_default()),
                    "use a code such as token.revoked, or its first part: key, token, scope, certificate, …",
                ));
            }
        }
        Ok((filter, family))
    }

    async fn fingerprint_of(&self, cert: &str) -> Answer<String> {
        let plain = cert.replace(':', "").to_ascii_lowercase();
        if plain.len() == 64 && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(plain);
        }
        let known = self.store().list_certificates().await?;
        // The newest of that name: a machine's certificates follow one another.
        let newest = known
            .into_iter()
            .filter(|known| known.name == cert || known.serial == plain)
            .max_by_key(|known| known.created_at);
        let missing = || OperatorError::missing("certificate", cert, "name its fingerprint; see `trigate cert list`");
        newest.map(|known| known.fingerprint).ok_or_else(missing)
    }

    async fn names_of<'a>(&self, decisions: impl Iterator<Item = &'a Decision>) -> Answer<BTreeMap<String, String>> {
        let mut names = BTreeMap::new();
        for decision in decisions {
            self.name_user(&mut names, decision.facts.user.as_ref()).await?;
            self.name_app(&mut names, decision.facts.application.as_ref()).await?;
        }
        Ok(names)
    }

    async fn name_user(
        &self,
        names: &mut BTreeMap<String, String>,
        id: Option<&trigate_core::id::UserId>,
    ) -> Answer<()> {
        if let Some(id) = id.filter(|id| !names.contains_key(id.as_str()))
            && let Some(user) = self.store().find_user(id).await?
        {
            names.insert(id.to_string(), user.email);
        }
        Ok(())
    }

    async fn name_app(&self, names: &mut BTreeMap<String, String>, id: Option<&trigate_core::id::AppId>) -> Answer<()> {
        if let Some(id) = id.filter(|id| !names.contains_key(id.as_str()))
            && let Some(app) = self.store().find_application(id).await?
        {
            names.insert(id.to_string(), app.name);
        }
        Ok(())
    }
}

fn view(entry: IndexedDecision) -> DecisionView {
    DecisionView {
        time: when(entry.decision.at),
        index: entry.index,
        explanation: entry.decision.reason.map(Reason::explanation),
        decision: entry.decision,
    }
}

/// The same questions as the index answers, asked of a record that is not indexed yet.
fn matches(filter: &DecisionFilter, family: Option<&str>, decision: &Decision) -> bool {
    fn is<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
        wanted.as_ref().is_none_or(|wanted| found.as_ref() == Some(wanted))
    }
    let facts = &decision.facts;
    let code = decision.reason.map(Reason::code);
    is(&filter.user, &facts.user)
        && is(&filter.application, &facts.application)
        && is(&filter.client, &facts.client)
        && is(&filter.key, &facts.key)
        && is(&filter.session, &facts.session)
        && is(&filter.certificate, &facts.certificate)
        && filter.address.is_none_or(|address| decision.peer == address)
        && filter.since.is_none_or(|since| decision.at >= since)
        && filter.reason.as_deref().is_none_or(|reason| code == Some(reason))
        && family.is_none_or(|family| code.is_some_and(|code| code.starts_with(family)))
}

/// Which questions were asked, for the act: names of the filters, not what was looked for.
fn describe(query: &DecisionsQuery) -> String {
    let asked = [
        ("user", query.user.is_some()),
        ("app", query.app.is_some()),
        ("key", query.key.is_some()),
        ("client", query.client.is_some()),
        ("session", query.session.is_some()),
        ("cert", query.cert.is_some()),
        ("address", query.address.is_some()),
        ("since", query.since.is_some()),
        ("reason", query.reason.is_some()),
    ];
    let names: Vec<&str> = asked.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(" ") }
}

pub(super) async fn list_nodes(dir: &Path) -> Answer<Vec<String>> {
    let dir = dir.to_owned();
    blocking(move || trigate_audit::nodes(&dir).map_err(segments_failed)).await
}

/// What the segments say beyond the index.
struct Tail {
    /// Records that were read.
    read: u64,
    /// The newest that match, one more than were asked for.
    found: VecDeque<IndexedDecision>,
}

/// Reads at question time what is not indexed: the open segment (at most 64 MB and ten minutes), and sealed ones that
/// wait for the indexer.
async fn read_tail(
    dir: PathBuf,
    node: String,
    from: u64,
    (filter, family): (DecisionFilter, Option<String>),
) -> Answer<Tail> {
    blocking(move || {
        let mut tail = Tail { read: 0, found: VecDeque::new() };
        let Some(mut reader) = Reader::open(&dir, &node, from).map_err(segments_failed)? else { return Ok(tail) };
        let most = filter.limit.saturating_add(1) as usize;
        // Few records are of the one who is asked about: the others need not be taken apart.
        let needle = needle(&filter);
        let finder = memchr::memmem::Finder::new(&needle);
        while let Some(entry) = reader.next_entry().map_err(segments_failed)? {
            tail.read += 1;
            if !entry.is_decision() || finder.find(&entry.bytes).is_none() {
                continue;
            }
            let Record::Decision(decision) = entry.record().map_err(segments_failed)? else { continue };
            if matches(&filter, family.as_deref(), &decision) {
                tail.found.push_back(IndexedDecision { node: node.clone(), index: entry.index, decision: *decision });
                if tail.found.len() > most {
                    tail.found.pop_front();
                }
            }
        }
        Ok(tail)
    })
    .await
}

/// Bytes that every matching record holds; none when the question names nobody.
fn needle(filter: &DecisionFilter) -> String {
    let DecisionFilter { user, application, client, key, session, certificate, address, reason, .. } = filter;
    let names = [
        key.as_ref().map(ToString::to_string),
        session.as_ref().map(ToString::to_string),
        user.as_ref().map(ToString::to_string),
        client.as_ref().map(ToString::to_string),
        certificate.clone(),
        application.as_ref().map(ToString::to_string),
        address.map(|address| address.to_string()),
        reason.clone(),
    ];
    names.into_iter().flatten().next().unwrap_or_default()
}

fn segments_failed(error: trigate_audit::AuditError) -> OperatorError {
    OperatorError::broken(
        format!("the audit segments cannot be read: {error}"),
        "run `trigate audit verify` to see where",
    )
}
