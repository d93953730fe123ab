//! Many failed attempts in few: what nobody need wait for.

use crate::domain::Arm;

/// Attempts that are looked back on.
const RECENT: u32 = 10;
/// So many failures in a row, from the first on, are a catastrophe.
const IN_A_ROW: u32 = 5;
/// So many failures of the recent ones are one.
const OF_RECENT: u32 = 8;
/// Control is fine with no more failures than these of its recent ones.
const CONTROL_FINE: u32 = 2;

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

    const fn failed_in_a_row(self) -> u32 {
        self.bits.trailing_ones()
    }
}

/// Whether the candidate fails so often, and control so seldom, that nobody need wait; with the figures.
#[must_use]
pub fn catastrophe(recent: &[Recent; 2]) -> Option<String> {
    let [control, candidate] = [recent[Arm::Control.index()], recent[Arm::Candidate.index()]];
    let many = candidate.failures() >= OF_RECENT || candidate.failed_in_a_row() >= IN_A_ROW;
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
            ("..........", "x.xxxx.xxx", true),
            ("..........", "x.xxxx..xx", false),
            ("xx........", "xxxxx", true),
            ("xxx.......", "xxxxx", false),
            ("..........", "xxxxx.....", false),
            ("", "....................xxxxx", true),
        ];
        for (control, candidate, expected) in rows {
            let found = catastrophe(&[recent(control), recent(candidate)]);
            assert_eq!(found.is_some(), expected, "{control} {candidate}");
        }
        let text = catastrophe(&[recent("...x"), recent("xxxxx")]).unwrap();
        assert_eq!(text, "5 of the last 5 attempts at the candidate failed, and 1 of control's last 4");
    }
}
