//! Is each address well? Asked on the desk's runtime, never on the road; the answers change what the road chooses from.

use super::{HealthRule, Target, Upstream, dial::dial};
use crate::{proxy::RoadConfig, tasks};
use arc_swap::ArcSwap;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::timeout;
use trigate_core::port::{Clock, Monotonic};

/// Checks what the configuration in force says, until `stop`.
pub async fn check_health(
    current: Arc<ArcSwap<RoadConfig>>,
    tls: Arc<rustls::ClientConfig>,
    clock: Arc<dyn Clock>,
    mut stop: tasks::Stop,
) {
    let mut due: HashMap<(String, usize), Monotonic> = HashMap::new();
    loop {
        let (config, now) = (current.load_full(), clock.monotonic());
        let mut next = HashMap::new();
        for upstream in config.upstreams.values() {
            let Some(rule) = &upstream.health else { continue };
            for index in 0..upstream.targets.len() {
                let key = (upstream.name.clone(), index);
                let at = due.get(&key).copied().filter(|at| *at > now);
                if at.is_none() {
                    tokio::spawn(check(Arc::clone(upstream), index, rule.clone(), Arc::clone(&tls)));
                }
                let interval = u64::try_from(rule.interval.as_micros()).unwrap_or(u64::MAX);
                next.insert(key, at.unwrap_or(Monotonic(now.0.saturating_add(interval))));
            }
        }
        due = next;
        let pause = if due.is_empty() { Duration::from_secs(1) } else { Duration::from_millis(250) };
        if !tasks::pause(&mut stop, pause).await {
            return;
        }
    }
}

async fn check(upstream: Arc<Upstream>, index: usize, rule: HealthRule, tls: Arc<rustls::ClientConfig>) {
    let Some(target) = upstream.targets.get(index) else { return };
    let well = matches!(timeout(rule.timeout, ask(target, &rule, &tls)).await, Ok(Ok(true)));
    upstream.checked(target, &rule, well);
}

async fn ask(target: &Target, rule: &HealthRule, tls: &Arc<rustls::ClientConfig>) -> Result<bool, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let url = &target.url;
    let stream = TokioIo::new(dial(url, tls).await?);
    let request = |target: String| {
        let request = Request::get(target).header(header::USER_AGENT, "trigate-health");
        if url.http2 { request } else { request.header(header::HOST, url.authority.as_str()) }
            .body(Empty::<bytes::Bytes>::new())
    };
    let path = format!("{}{}", url.prefix, rule.path);
    let status = if url.http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.map_err(|error| text(&error))?;
        let request = request(format!("{}{path}", url.origin())).map_err(|error| text(&error))?;
        tokio::select! {
            answer = sender.send_request(request) => answer.map_err(|error| text(&error))?.status(),
            _ = connection => return Ok(false),
        }
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| text(&error))?;
        let request = request(path).map_err(|error| text(&error))?;
        tokio::select! {
            biased;
            answer = sender.send_request(request) => answer.map_err(|error| text(&error))?.status(),
            _ = connection => return Ok(false),
        }
    };
    Ok(status.is_success() || status.is_redirection())
}
