//! Which software is registered, and on which plan?

use super::{Answer, By, Operator, OperatorError, when};
use serde::{Deserialize, Serialize};
use trigate_core::{
    application::{Application, State},
    id::AppId,
    port::NewApplication,
};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    pub name: String,
    pub plan: String,
    /// Only for moving an application here under the id that it had.
    #[serde(default)]
    pub id: Option<AppId>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppView {
    pub id: AppId,
    pub name: String,
    pub plan: String,
    pub state: State,
    pub created_at: String,
}

impl From<Application> for AppView {
    fn from(app: Application) -> Self {
        Self { id: app.id, name: app.name, plan: app.plan, state: app.state, created_at: when(app.created_at) }
    }
}

impl Operator {
    pub async fn create_app(&self, by: &By, new: NewApp) -> Answer<AppView> {
        let name = check_name("application", &new.name)?;
        self.check_plan(&new.plan)?;
        if self.store().find_application_by_name(&name).await?.is_some() {
            return Err(OperatorError::conflict(
                format!("an application named `{name}` exists"),
                "choose another name, or see `trigate app list`",
            ));
        }
        let id = new.id.unwrap_or_else(|| AppId::mint(self.rng()));
        let act = self.act(by, "app.create", id.as_str()).application(&id).fact("plan", &new.plan);
        let app = self.store().create_application(act, NewApplication { id, name, plan: new.plan }).await?;
        // The key that comes next must not be unknown at a gate: an answer means that it works.
        Ok(self.everywhere(app).await?.into())
    }

    pub async fn list_apps(&self) -> Answer<Vec<AppView>> {
        Ok(self.store().list_applications().await?.into_iter().map(AppView::from).collect())
    }

    pub async fn show_app(&self, app: &str) -> Answer<AppView> {
        Ok(self.load_app(app).await?.into())
    }

    pub async fn change_plan(&self, by: &By, app: &str, plan: &str) -> Answer<AppView> {
        self.check_plan(plan)?;
        let app = self.load_app(app).await?;
        let act =
            self.act(by, "app.plan", app.id.as_str()).application(&app.id).fact("from", &app.plan).fact("to", plan);
        let changed = self.store().change_plan(act, &app.id, plan).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    pub async fn set_app_state(&self, by: &By, app: &str, state: State) -> Answer<AppView> {
        let app = self.load_app(app).await?;
        let act = self.act(by, state_verb("app", state), app.id.as_str()).application(&app.id);
        let changed = self.store().set_application_state(act, &app.id, state).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    /// By id or by name.
    pub(super) async fn load_app(&self, text: &str) -> Answer<Application> {
        if let Ok(id) = AppId::parse(text)
            && let Some(app) = self.store().find_application(&id).await?
        {
            return Ok(app);
        }
        self.store()
            .find_application_by_name(text)
            .await?
            .ok_or_else(|| OperatorError::missing("application", text, "see `trigate app list` for ids and names"))
    }

    fn check_plan(&self, plan: &str) -> Answer<()> {
        let plans = (self.parts.plans)();
        if plans.is_empty() || plans.iter().any(|known| known == plan) {
            return Ok(());
        }
        Err(OperatorError::invalid(
            format!("no plan is named `{plan}`"),
            format!("use one of {}, or define it under [plans] in trigate.toml", plans.join(", ")),
        ))
    }
}

pub(super) const fn state_verb(noun: &'static str, state: State) -> &'static str {
    match (noun.as_bytes(), state) {
        (b"app", State::Enabled) => "app.enable",
        (b"app", State::Disabled) => "app.disable",
        (b"key", State::Enabled) => "key.enable",
        (b"key", State::Disabled) => "key.disable",
        (b"client", State::Enabled) => "client.enable",
        (b"client", State::Disabled) => "client.disable",
        (_, State::Enabled) => "user.enable",
        (_, State::Disabled) => "user.disable",
    }
}

/// Names are shown on pages, in headers and in tables: one line, not blank, not long.
pub(super) fn check_name(what: &str, name: &str) -> Answer<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(OperatorError::invalid(
            format!("the {what}'s name is empty, longer than 100 characters, or has control characters"),
            "give it a short name on one line",
        ));
    }
    Ok(name.to_owned())
}
