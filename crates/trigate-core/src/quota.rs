//! How much may an application ask for in a day or a month? Periods of the calendar, in UTC, and what gates tell each
//! other about their counting.

use crate::{id::AppId, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use time::{Date, Month, OffsetDateTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    Day,
    Month,
}

impl Span {
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// One day (`20261124`) or one month (`202611`) of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Period(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a period is a day (20261124) or a month (202611)")]
pub struct BadPeriod;

impl Period {
    /// The period that `at` lies in.
    pub fn of(span: Span, at: Timestamp) -> Self {
        let date = OffsetDateTime::from_unix_timestamp(at.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
        let year = u32::try_from(date.year()).unwrap_or_default();
        let month = year * 100 + u32::from(u8::from(date.month()));
        match span {
            Span::Day => Self(month * 100 + u32::from(date.day())),
            Span::Month => Self(month),
        }
    }

    pub const fn span(self) -> Span {
        if self.0 < 1_000_000 { Span::Month } else { Span::Day }
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    pub fn starts_at(self) -> Timestamp {
        self.first_day().map(midnight).unwrap_or_default()
    }

    /// The first instant of the next one.
    pub fn ends_at(self) -> Timestamp {
        let next = self.first_day().and_then(|day| match self.span() {
            Span::Day => day.next_day(),
            Span::Month => day.replace_day(day.month().length(day.year())).ok()?.next_day(),
        });
        next.map(midnight).unwrap_or_default()
    }

    pub fn seconds(self) -> u64 {
        u64::try_from(self.ends_at().seconds_since(self.starts_at())).unwrap_or_default()
    }

    fn first_day(self) -> Option<Date> {
        let (month, day) = match self.span() {
            Span::Day => (self.0 / 100, self.0 % 100),
            Span::Month => (self.0, 1),
        };
        let name = Month::try_from(u8::try_from(month % 100).ok()?).ok()?;
        Date::from_calendar_date(i32::try_from(month / 100).ok()?, name, u8::try_from(day).ok()?).ok()
    }
}

fn midnight(day: Date) -> Timestamp {
    Timestamp::from_seconds(day.midnight().assume_utc().unix_timestamp())
}

impl TryFrom<u32> for Period {
    type Error = BadPeriod;
    fn try_from(number: u32) -> Result<Self, BadPeriod> {
        Self(number).first_day().map(|_| Self(number)).ok_or(BadPeriod)
    }
}

impl From<Period> for u32 {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.starts_at().rfc3339();
        f.write_str(day.get(..if self.span() == Span::Day { 10 } else { 7 }).unwrap_or(&day))
    }
}

/// Requests of one application in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub application: AppId,
    pub period: Period,
    pub count: u64,
}

/// What one gate process has counted since its report before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageReport {
    /// One gate process, unlike any other, also of the same name.
    pub holder: String,
    /// Rises with each report of the holder. One that comes again adds nothing.
    pub number: u64,
    pub counted: Vec<Usage>,
}

/// The most that one report counts.
pub const MAX_REPORTED: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn periods_follow_the_calendar_in_utc() {
        for (span, within, number, ends, seconds) in [
            (Span::Day, "2026-11-24T23:59:59Z", 20_261_124, "2026-11-25T00:00:00Z", 86_400),
            (Span::Day, "2026-11-25T00:30:00+01:00", 20_261_124, "2026-11-25T00:00:00Z", 86_400),
            (Span::Day, "2026-12-31T00:00:00Z", 20_261_231, "2027-01-01T00:00:00Z", 86_400),
            (Span::Month, "2026-12-31T23:59:59Z", 202_612, "2027-01-01T00:00:00Z", 31 * 86_400),
            (Span::Month, "2028-02-01T00:00:00Z", 202_802, "2028-03-01T00:00:00Z", 29 * 86_400),
        ] {
            let period = Period::of(span, at(within));
            let found = (period.number(), period.span(), period.ends_at(), period.seconds());
            assert_eq!(found, (number, span, at(ends), seconds), "{within}");
            assert_eq!(Period::try_from(number), Ok(period));
        }
        assert_eq!(Period::of(Span::Day, at("2026-11-24T10:00:00Z")).to_string(), "2026-11-24");
        assert_eq!(Period::of(Span::Month, at("2026-11-24T10:00:00Z")).to_string(), "2026-11");
    }

    #[test]
    fn what_is_in_no_calendar_is_no_period() {
        for number in [0, 2026, 202_600, 202_613, 20_260_230, 20_261_100, 20_261_131, u32::MAX] {
            assert_eq!(Period::try_from(number), Err(BadPeriod), "{number}");
        }
    }
}
