//! Who has an account here?

use super::{
    Answer, By, Operator, OperatorError,
    app::{check_name, state_verb},
    role::check_role,
    when,
};
use serde::{Deserialize, Serialize};
use trigate_core::{
    application::State,
    id::UserId,
    port::NewUser,
    user::{User, login_name},
};
use zeroize::Zeroizing;

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    pub email: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    /// Absent: one is made and shown once.
    #[serde(default)]
    pub password: Option<Zeroizing<String>>,
    #[serde(default)]
    pub email_verified: bool,
    /// Only for moving an account here under the `sub` that it had.
    #[serde(default)]
    pub id: Option<UserId>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UserView {
    pub id: UserId,
    pub email: String,
    pub email_verified: bool,
    pub name: String,
    pub roles: Vec<String>,
    pub state: State,
    pub created_at: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            email_verified: user.email_verified,
            name: user.name,
            roles: user.roles,
            state: user.state,
            created_at: when(user.created_at),
        }
    }
}

#[derive(Serialize)]
pub struct AccountMade {
    #[serde(flatten)]
    pub user: UserView,
    /// Shown this once, when it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Zeroizing<String>>,
}

/// What a login of this user looks like to an operator.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    pub id: String,
    pub authenticated_at: String,
    pub last_seen_at: String,
    pub expires_at: String,
    pub address: String,
    pub agent: String,
}

/// What this user allowed a client.
#[derive(Clone, Debug, Serialize)]
pub struct GrantView {
    pub id: String,
    pub client: String,
    pub scopes: Vec<String>,
    pub created_at: String,
    pub revoked: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct UserDetail {
    #[serde(flatten)]
    pub user: UserView,
    pub sessions: Vec<SessionView>,
    pub grants: Vec<GrantView>,
}

impl Operator {
    pub async fn create_user(&self, by: &By, new: NewAccount) -> Answer<AccountMade> {
        let email = check_email(&new.email)?;
        for role in &new.roles {
            check_role(role)?;
        }
        if self.store().find_user_by_email(&email).await?.is_some() {
            return Err(OperatorError::conflict(
                "an account with this e-mail address exists",
                "see `trigate user list`, or use another address",
            ));
        }
        let name = match &new.name {
            Some(name) => check_name("user", name)?,
            None => email.split('@').next().unwrap_or_default().to_owned(),
        };
        let made = new.password.is_none().then(|| self.mint_password());
        let password = new.password.or_else(|| made.clone()).unwrap_or_default();
        check_password(&password)?;
        let password_hash = Some(self.parts.hasher.hash(password).await?);
        let id = new.id.unwrap_or_else(|| UserId::mint(self.rng()));
        let act = self.act(by, "user.create", id.as_str()).user(&id).fact("roles", new.roles.join(" "));
        let new = NewUser { id, email, email_verified: new.email_verified, name, password_hash, roles: new.roles };
        let user = self.store().create_user(act, new).await?.gives_only();
        Ok(AccountMade { user: user.into(), password: made })
    }

    pub async fn list_users(&self) -> Answer<Vec<UserView>> {
        Ok(self.store().list_users().await?.into_iter().map(UserView::from).collect())
    }

    /// By id or e-mail, without details.
    pub async fn find_user(&self, user: &str) -> Answer<UserView> {
        Ok(self.load_user(user).await?.into())
    }

    pub async fn show_user(&self, user: &str) -> Answer<UserDetail> {
        let user = self.load_user(user).await?;
        let sessions = self.store().list_sessions(&user.id, self.now()).await?;
        let grants = self.store().list_grants(&user.id).await?;
        Ok(UserDetail {
            user: user.into(),
            sessions: sessions
                .into_iter()
                .map(|session| SessionView {
                    id: session.id.to_string(),
                    authenticated_at: when(session.authenticated_at),
                    last_seen_at: when(session.last_seen_at),
                    expires_at: when(session.expires_at),
                    address: session.address,
                    agent: session.agent,
                })
                .collect(),
            grants: grants
                .into_iter()
                .map(|grant| GrantView {
                    id: grant.id.to_string(),
                    client: grant.client.to_string(),
                    scopes: grant.scopes.iter().map(ToString::to_string).collect(),
                    created_at: when(grant.created_at),
                    revoked: grant.revoked,
                })
                .collect(),
        })
    }

    pub async fn set_user_state(&self, by: &By, user: &str, state: State) -> Answer<UserView> {
        let user = self.load_user(user).await?;
        let act = self.act(by, state_verb("user", state), user.id.as_str()).user(&user.id);
        let changed = self.store().set_user_state(act, &user.id, state).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    /// Sets a new password (or makes one) and ends all sessions and grants. Answers with the made one.
    pub async fn set_password(&self, by: &By, user: &str, password: Option<Zeroizing<String>>) -> Answer<AccountMade> {
        let user = self.load_user(user).await?;
        let made = password.is_none().then(|| self.mint_password());
        let password = password.or_else(|| made.clone()).unwrap_or_default();
        check_password(&password)?;
        let hash = self.parts.hasher.hash(password).await?;
        let act = self.act(by, "user.set_password", user.id.as_str()).user(&user.id);
        let changed = self.store().set_password(act, &user.id, &hash).await?;
        self.everywhere(changed).await?;
        Ok(AccountMade { user: user.into(), password: made })
    }

    /// By id or by e-mail.
    pub(super) async fn load_user(&self, text: &str) -> Answer<User> {
        if text.contains('@')
            && let Some(user) = self.store().find_user_by_email(&login_name(text)).await?
        {
            return Ok(user);
        }
        let found = match UserId::parse(text) {
            Ok(id) => self.store().find_user(&id).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| {
            OperatorError::missing("user", text, "name an id (`usr_…`) or an e-mail; see `trigate user list`")
        })
    }

    /// 24 letters and digits in four groups: easy to read out, about 140 bits.
    fn mint_password(&self) -> Zeroizing<String> {
        let bits = trigate_core::credential::CsrfToken::mint(self.rng());
        let letters: Vec<char> = bits.reveal().chars().skip(4).take(24).collect();
        let groups: Vec<String> = letters.chunks(6).map(|group| group.iter().collect()).collect();
        Zeroizing::new(groups.join("-"))
    }
}

const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 10..=128;

fn check_password(password: &str) -> Answer<()> {
    if PASSWORD_BYTES.contains(&password.len()) && !password.chars().any(char::is_control) {
        return Ok(());
    }
    Err(OperatorError::invalid(
        "a password has 10 to 128 bytes on one line",
        "choose a longer one, or leave it out and have one made",
    ))
}

fn check_email(email: &str) -> Answer<String> {
    let email = email.trim();
    let parts = email.rsplit_once('@');
    let good = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && email.len() <= 254
        && !email.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | ','));
    if good {
        return Ok(email.to_owned());
    }
    Err(OperatorError::invalid("this is no e-mail address", "write it as name@example.com"))
}
