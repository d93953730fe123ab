//! Many failed attempts in few: what nobody need wait for.

use crate::domain::Arm;

/// Attempts that are looked back on. A candidate with 5 % errors has so many failures in a row once in 1e13 attempts, with 20 %
/// once in 12 million; of five in a row it would be once in 3.4 million at 5 %, and once in 111,000 at 10 %.
const RECENT: u32 = 10;
/// At the beginning so many are enough: that comes only once a run, with 5 % errors in one of 3.2 million.
const FROM_THE_FIRST: u32 = 5;
/// Control is fine with no more failures than these of its recent ones: with 5 % errors it has more once in 16,000 times. If it
/// were two, a dead candidate would be given another chance once in 87 times.
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

    /// Whether nothing that is remembered succeeded.
    const fn is_dead(self) -> bool {
        self.count >= FROM_THE_FIRST && self.failures() == self.count
    }
}

/// Whether the candidate fails always, and control so seldom, that nobody need wait; with the figures.
#[must_use]
pub fn catastrophe(recent: &[Recent; 2]) -> Option<String> {
    let [control, candidate] = [recent[Arm::Control.index()], recent[Arm::Candidate.index()]];
    (candidate.is_dead() && control.failures() <= CONTROL_FINE).then(|| {
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
    fn a_catastrophe_is_nothing_but_failures_while_control_is_fine() {
        let rows = [
            ("", "xxxxx", true),
            ("", "xxxx", false),
            ("", "xxxxx.", false),
            ("", ".xxxxx", false),
            ("", ".xxxxxxxxx", false),
            ("..........", "xxxxxxxxxx", true),
            ("..........", "xxxxx.xxxx", false),
            ("xxxx......", "xxxxx", true),
            ("xxxxx.....", "xxxxx", false),
            ("", "....................xxxxxxxxx", false),
            ("", "....................xxxxxxxxxx", true),
        ];
        for (control, candidate, expected) in rows {
            let found = catastrophe(&[recent(control), recent(candidate)]);
            assert_eq!(found.is_some(), expected, "{control} {candidate}");
        }
        let text = catastrophe(&[recent("...x"), recent("xxxxx")]).unwrap();
        assert_eq!(text, "5 of the last 5 attempts at the candidate failed, and 1 of control's last 4");
    }
}
