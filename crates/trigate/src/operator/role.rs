//! Which roles does a person have? A role given shows in the next token; a role taken away is gone from the next request.

use super::{Answer, By, Operator, OperatorError, user::UserView};

impl Operator {
    pub async fn add_role(&self, by: &By, user: &str, role: &str) -> Answer<UserView> {
        let role = check_role(role)?;
        let user = self.load_user(user).await?;
        let act = self.act(by, "user.role_add", user.id.as_str()).user(&user.id).fact("role", role);
        Ok(self.store().add_role(act, &user.id, role).await?.gives_only().into())
    }

    pub async fn remove_role(&self, by: &By, user: &str, role: &str) -> Answer<UserView> {
        let role = check_role(role)?;
        let user = self.load_user(user).await?;
        if !user.roles.iter().any(|has| has == role) {
            return Err(OperatorError::conflict(
                format!("`{}` does not have the role `{role}`", user.id),
                format!(
                    "roles of this user: {}",
                    if user.roles.is_empty() { "none".into() } else { user.roles.join(", ") }
                ),
            ));
        }
        let act = self.act(by, "user.role_remove", user.id.as_str()).user(&user.id).fact("role", role);
        let changed = self.store().remove_role(act, &user.id, role).await?;
        Ok(self.everywhere(changed).await?.into())
    }
}

/// Roles travel in headers and claims: visible ASCII, no separators.
pub(super) fn check_role(role: &str) -> Answer<&str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/');
    if (1..=64).contains(&role.len()) && role.bytes().all(fits) {
        return Ok(role);
    }
    Err(OperatorError::invalid(
        format!("`{}` is no name for a role", role.escape_default()),
        "use 1 to 64 letters, digits and -_.:/",
    ))
}
