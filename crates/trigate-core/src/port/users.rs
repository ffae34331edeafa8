//! People's accounts.

use super::{StoreError, Stored};
use crate::{act::Act, application::State, id::UserId, user::User};
use async_trait::async_trait;

#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: UserId,
    pub email: String,
    pub email_verified: bool,
    pub name: String,
    /// PHC string; `None` for an account that cannot log in by password.
    pub password_hash: Option<String>,
    pub roles: Vec<String>,
}

#[async_trait]
pub trait Users: Send + Sync {
    /// `Conflict` when id or e-mail (by [`crate::user::login_name`]) is taken.
    async fn create_user(&self, act: Act, new: NewUser) -> Stored<User>;
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreError>;
    async fn find_user_by_email(&self, email: &str) -> Result<Option<User>, StoreError>;
    /// The account and its password hash, for the login alone.
    async fn find_login(&self, email: &str) -> Result<Option<(User, Option<String>)>, StoreError>;
    async fn list_users(&self) -> Result<Vec<User>, StoreError>;
    /// Ends nothing: a role gained shows in the next token.
    async fn add_role(&self, act: Act, id: &UserId, role: &str) -> Stored<User>;
    /// Tokens minted before are judged without the role from here on.
    async fn remove_role(&self, act: Act, id: &UserId, role: &str) -> Stored<User>;
    async fn set_user_state(&self, act: Act, id: &UserId, state: State) -> Stored<User>;
    /// Sets the password and revokes the user's sessions and grants.
    async fn set_password(&self, act: Act, id: &UserId, password_hash: &str) -> Stored<()>;
}
