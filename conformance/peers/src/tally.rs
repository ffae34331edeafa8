//! How often did the three agree, and where did we refuse alone?

use crate::{draft::Case, verdict::Verdict};
use std::{collections::BTreeMap, fmt};

#[derive(Default)]
pub struct Tally {
    pub cases: u64,
    pub honest: u64,
    pub by_all: u64,
    pub by_us_and_one: u64,
    pub by_none: u64,
    /// Must stay empty.
    pub by_us_alone: Vec<Case>,
    /// Accepted by both others, by our reason.
    pub refused_by_us_alone: BTreeMap<String, u64>,
    /// Accepted by one of the others.
    pub refused_by_us_and_one: BTreeMap<String, u64>,
}

impl Tally {
    pub fn count(&mut self, case: &Case, ours: &Verdict, others: [&Verdict; 2]) {
        self.cases += 1;
        self.honest += u64::from(case.bends.is_empty());
        let accepted = others.iter().filter(|verdict| verdict.is_ok()).count();
        match (ours, accepted) {
            (Ok(()), 2) => self.by_all += 1,
            (Ok(()), 1) => self.by_us_and_one += 1,
            (Ok(()), _) => self.by_us_alone.push(case.clone()),
            (Err(_), 0) => self.by_none += 1,
            (Err(why), 1) => *self.refused_by_us_and_one.entry(why.clone()).or_default() += 1,
            (Err(why), _) => *self.refused_by_us_alone.entry(why.clone()).or_default() += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cases, {} of them honest tokens", self.cases, self.honest)?;
        writeln!(f, "{:>9}  accepted by all", self.by_all)?;
        writeln!(f, "{:>9}  accepted by us and one other", self.by_us_and_one)?;
        writeln!(f, "{:>9}  refused by all", self.by_none)?;
        writeln!(f, "{:>9}  accepted by us alone", self.by_us_alone.len())?;
        for (title, reasons) in
            [("us alone", &self.refused_by_us_alone), ("us and one other", &self.refused_by_us_and_one)]
        {
            writeln!(f, "{:>9}  refused by {title}:", reasons.values().sum::<u64>())?;
            for (why, count) in reasons {
                writeln!(f, "{count:>9}    {why}")?;
            }
        }
        Ok(())
    }
}
