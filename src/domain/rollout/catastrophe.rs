//! Many failed attempts in few: what nobody need wait for.

use crate::domain::Arm;

/// Attempts that are looked back on.
const RECENT: u32 = 10;
/// So many failures and nothing else, from the first attempt on, are a catastrophe.
const FROM_THE_FIRST: u32 = 5;
/// So many failures of the recent ones are one. Of a candidate with 5 % errors it is expected once in 5e10 attempts; five in a
/// row at any time would be expected once in 3.4 million, and once in 111,000 at 10 %.
const OF_RECENT: u32 = 9;
/// Control is fine with no more failures than these of its recent ones: with 5 % errors it has more once in 16,000 times, and
/// with three, once in 87, a dead candidate would be given another chance.
const CONTROL_FINE: u32 = 4;

/// The outcomes of an arm's last attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// The newest in the lowest bit; 1 is a failure.
    bits: u16,
    count: u32,
}

impl Recent {
    /// Notes an attempt.
    pub const fn note(&mut self, failed: bool) {
        self.bits = (self.bits << 1 | failed as u16) & ((1 << RECENT) - 1);
        self.count = if self.count < RECENT { self.count + 1 } else { RECENT };
    }

    const fn failures(self) -> u32 {
        self.bits.count_ones()
    }

    const fn never_succeeded(self) -> bool {
        self.count >= FROM_THE_FIRST && self.failures() == self.count
    }
}

/// Whether the candidate fails so often, and control so seldom, that nobody need wait; with the figures.
#[must_use]
pub fn catastrophe(recent: &[Recent; 2]) -> Option<String> {
    let [control, candidate] = [recent[Arm::Control.index()], recent[Arm::Candidate.index()]];
    let many = candidate.failures() >= OF_RECENT || candidate.never_succeeded();
    (many && control.failures() <= CONTROL_FINE).then(|| {
        format!(
            "{} of the last {} attempts at the candidate failed, and {} of control's last {}",
            candidate.failures(),
            candidate.count,
            control.failures(),
            control.count
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(outcomes: &str) -> Recent {
        let mut recent = Recent::default();
        outcomes.bytes().for_each(|outcome| recent.note(outcome == b'x'));
        recent
    }

    #[test]
    fn a_catastrophe_is_many_failures_in_few_while_control_is_fine() {
        let rows = [
            ("", "xxxxx", true),
            ("", "xxxx", false),
            ("", "xxxxx.", false),
            ("", ".xxxxx", false),
            ("", ".xxxxxxxxx", true),
            ("..........", "xx.xxxxxxx", true),
            ("..........", "x.xxxx.xxx", false),
            ("xxxx......", "xxxxx", true),
            ("xxxxx.....", "xxxxx", false),
            ("", "....................xxxxx", false),
            ("", "....................xxxxxxxx", false),
            ("", "....................xxxxxxxxx", true),
        ];
        for (control, candidate, expected) in rows {
            let found = catastrophe(&[recent(control), recent(candidate)]);
            assert_eq!(found.is_some(), expected, "{control} {candidate}");
        }
        let text = catastrophe(&[recent("...x"), recent("xxxxx")]).unwrap();
        assert_eq!(text, "5 of the last 5 attempts at the candidate failed, and 1 of control's last 4");
    }
}
