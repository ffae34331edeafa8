//! What does another issuer end? Its signed statements, taken once, with the barrier of every revocation.

use super::{Answer, By, Operator};
use trigate_core::{
    Timestamp,
    change::Target,
    port::{StatementId, StoreError},
};

/// A statement whose signature and audience were checked.
#[derive(Clone, Debug)]
pub struct Statement {
    /// `logout` or `signal`.
    pub kind: &'static str,
    pub issuer: String,
    /// Its `jti`.
    pub id: String,
    /// It is told from a new one so long.
    pub remember_until: Timestamp,
    /// What it said happened, for the act.
    pub events: String,
}

impl Operator {
    /// Ends what the statement names; `false` when it was taken before. Either way every gate has applied it.
    pub async fn obey(&self, statement: Statement, targets: Vec<Target>) -> Answer<bool> {
        let target = targets.first().map_or_else(|| statement.issuer.clone(), Target::id);
        let verb = match (statement.kind, targets.is_empty()) {
            ("logout", _) => "logout.receive",
            (_, false) => "signal.receive",
            (_, true) => "signal.ignore",
        };
        let mut act = self.act(&By::system(), verb, &target);
        act.user = targets.iter().find_map(|target| match target {
            Target::User { id, .. } => Some(id.clone()),
            _ => None,
        });
        let ends = targets.iter().map(|target| format!("{} {}", target.kind(), target.id())).collect::<Vec<_>>();
        let act = act
            .fact("issuer", &statement.issuer)
            .fact("statement", &statement.id)
            .fact("events", &statement.events)
            .fact("ends", ends.join(", "));
        let keep_until = self.now().plus_seconds(super::revoke::TOKEN_LIFE_S);
        let once = StatementId {
            party: format!("{} {}", statement.kind, statement.issuer),
            id: statement.id,
            remember_until: statement.remember_until,
        };
        match self.store().revoke_once(act, once, targets, keep_until).await {
            Ok(committed) => self.everywhere(committed).await.map(|()| true),
            Err(StoreError::Conflict(_)) => {
                // The first answer may have been lost before its barrier: this one means the same.
                let head = self.parts.system.head().await?;
                self.parts.propagation.everywhere(head).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
