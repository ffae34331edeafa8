//! What may an application ask for in a time? A rate, quotas of the calendar, and a rate for each of its users.

use super::{BadLimit, Limit};
use trigate_core::{desk::PlanWords, quota::Span};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub limit: Limit,
    /// Requests of a day of the calendar, in UTC.
    pub day: Option<Quota>,
    /// Requests of a month of the calendar, in UTC.
    pub month: Option<Quota>,
    /// For each user within the application.
    pub user: Option<Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In `RateLimit`: the plan's name with the period.
    pub name: String,
    pub most: u64,
}

/// Which word of a plan is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}`: {why}")]
pub struct BadPlan {
    pub word: &'static str,
    pub why: String,
}

impl Plan {
    pub fn new(name: &str, limit: Limit) -> Self {
        Self { name: name.to_owned(), limit, day: None, month: None, user: None }
    }

    /// Reads what a file or a desk says.
    pub fn read(name: &str, words: &PlanWords) -> Result<Self, BadPlan> {
        let limit = |word, text: &str| text.parse().map_err(|error: BadLimit| BadPlan { word, why: error.to_string() });
        let quota = |span: Span, most| match most {
            Some(0) => Err(BadPlan { word: span.as_str(), why: "a quota is at least 1".to_owned() }),
            Some(most) => Ok(Some(Quota { name: format!("{name}-{}", span.as_str()), most })),
            None => Ok(None),
        };
        Ok(Self {
            name: name.to_owned(),
            limit: limit("rate", &words.rate)?,
            day: quota(Span::Day, words.day)?,
            month: quota(Span::Month, words.month)?,
            user: words.user.as_deref().map(|text| limit("user", text)).transpose()?,
        })
    }

    pub fn words(&self) -> PlanWords {
        PlanWords {
            rate: self.limit.to_string(),
            day: self.day.as_ref().map(|quota| quota.most),
            month: self.month.as_ref().map(|quota| quota.most),
            user: self.user.as_ref().map(ToString::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_read_and_print_alike() {
        let whole = PlanWords {
            rate: "100/second burst 200".into(),
            day: Some(10_000),
            month: Some(200_000),
            user: Some("5/second".into()),
        };
        assert_eq!(Plan::read("pro", &whole).unwrap().words(), whole);
        for (word, wrong) in [
            ("rate", PlanWords { rate: String::new(), ..whole.clone() }),
            ("day", PlanWords { day: Some(0), ..whole.clone() }),
            ("month", PlanWords { month: Some(0), ..whole.clone() }),
            ("user", PlanWords { user: Some("many".into()), ..whole }),
        ] {
            assert_eq!(Plan::read("pro", &wrong).unwrap_err().word, word);
        }
    }
}
