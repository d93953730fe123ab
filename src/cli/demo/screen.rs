//! The demo's screen: what was said scrolls up, and below it a table is redrawn in place.
//!
//! Where standard output is no terminal, tables follow each other without control codes.

use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::time::{Duration, Instant};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::rollouts::RouteRollout;
use super::state::{ArmState, Breaker, State, gate_word};
use crate::cli::output;
use crate::domain::Arm;

/// Between two tables where nothing can be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Between two tables on a terminal.
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// A line under the header and nothing else: the table fits into 80 columns.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table that stands there now and will be overwritten.
    drawn: usize,
    next: Option<Instant>,
}

impl Screen {
    /// Standard output, as it is.
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), drawn: 0, next: None }
    }

    /// Says something that stays.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let erased = erase(self.drawn);
        if self.drawn > 0 {
            // The table goes below what is said now.
            self.next = None;
        }
        self.drawn = 0;
        output::write(&format!("{erased}{text}\n"))
    }

    /// Shows the state, if it is time to.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn show(&mut self, state: &State, now: Instant) -> io::Result<()> {
        if self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        let width = Table::new().width().filter(|_| self.terminal);
        let text = render(state, width);
        if !self.terminal {
            self.next = Some(now + PLAIN_EVERY);
            return output::write(&format!("{text}\n"));
        }
        self.next = Some(now + REDRAW_EVERY);
        let frame = format!("{}{}", erase(self.drawn), unwrapped(&text));
        self.drawn = text.lines().count();
        output::write(&frame)
    }
}

/// Puts the cursor where the last table began, and clears from there.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

/// Keeps long lines from being wrapped: a wrapped line would count as one and be left behind.
fn unwrapped(text: &str) -> String {
    format!("\x1b[?7l{text}\x1b[?7h")
}

/// The tables and what is below them; at most `width` columns where one is given.
pub(super) fn render(state: &State, width: Option<u16>) -> String {
    let header = ["arm", "requests", "attempts", "errors", "p50", "p95", "quality", "breaker", "gate"];
    let arms = table(&header, Arm::ALL.map(|arm| row(arm, state.arm(arm))), 1..7, width);
    let below = lines(below(state));
    if state.rollouts.is_empty() {
        return format!("{arms}\n\n{below}");
    }
    let header = ["rollout", "state", "stage", "users", "copies", "win rate"];
    let rollouts = table(&header, state.rollouts.iter().map(rollout_row), 3..5, width);
    let reasons = state.rollouts.iter().filter_map(|rollout| Some((&*rollout.view.route, rollout.reason()?)));
    format!("{arms}\n\n{below}\n{rollouts}\n\n{}", lines(reasons))
}

fn table<const N: usize>(
    header: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    right: Range<usize>,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).force_no_tty();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(header).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn lines<'a>(named: impl IntoIterator<Item = (&'a str, String)>) -> String {
    named.into_iter().map(|(name, text)| format!("  {name:<9} {text}\n")).collect()
}

fn rollout_row(rollout: &RouteRollout) -> [String; 6] {
    let percent = |percent: f64| format!("{percent} %");
    [
        rollout.view.route.clone(),
        rollout.state(),
        rollout.stage(),
        percent(rollout.view.percent),
        rollout.view.shadow.filter(|copies| *copies > 0.0).map_or_else(|| "-".to_owned(), percent),
        rollout.win_rate().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn row(arm: Arm, state: &ArmState) -> [String; 9] {
    let none = || "-".to_owned();
    let millis = |value: Option<f64>| value.map_or_else(none, |value| format!("{value:.0} ms"));
    [
        arm.to_string(),
        grouped(state.requests),
        grouped(state.attempts),
        grouped(state.failures),
        millis(state.p50_ms),
        millis(state.p95_ms),
        state.quality.map_or_else(none, |quality| format!("{quality:.2}")),
        state.breaker.map_or_else(none, breaker_text),
        state.gate.map_or_else(none, |gate| gate_word(gate).to_owned()),
    ]
}

fn below(state: &State) -> Vec<(&'static str, String)> {
    let seen = &state.seen;
    let candidate = seen.users[Arm::Candidate.index()];
    let users: usize = seen.users.iter().sum();
    let last = seen.last_error.as_ref().map_or_else(String::new, |error| format!(" (the last: {error})"));
    let left_out = match seen.left_out {
        0 => String::new(),
        left_out => format!(", {} not sent for want of room", grouped(left_out)),
    };
    vec![
        ("clients", format!("{} answers, {} errors{last}{left_out}", grouped(seen.answers), grouped(seen.errors))),
        ("split", format!("{} % in the file, {} users seen with candidate", state.percent, part(candidate, users))),
        (
            "covered",
            format!(
                "{} fallbacks, {} requests kept away by the breaker",
                grouped(state.fallbacks),
                grouped(state.kept_by_breaker)
            ),
        ),
        ("file", format!("generation {} runs, {} refused", state.generation, state.refusals)),
        ("uptime", clock_text(state.uptime)),
    ]
}

fn breaker_text(breaker: Breaker) -> String {
    match breaker {
        Breaker::Recovering(percent) => format!("{percent:.0} % pass"),
        Breaker::Closed | Breaker::HalfOpen | Breaker::Open => breaker.word().to_owned(),
    }
}

/// A part of a whole as `24.8 % (99 of 400)`.
pub(super) fn part(part: usize, whole: usize) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1} % ({part} of {whole})")
}

/// A time as minutes and seconds: `0:12`.
pub(super) fn clock_text(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::state::tests::example;

    #[test]
    fn half_a_minute_into_the_demo() {
        insta::assert_snapshot!(render(&example(), None));
    }

    #[test]
    fn narrow_terminals_and_clients_errors() {
        let mut state = example();
        state.seen.errors = 2;
        state.seen.left_out = 1_000;
        state.seen.last_error = Some("status 502 Bad Gateway".to_owned());
        state.arms[1].breaker = Some(Breaker::Open);
        let text = render(&state, Some(80));
        assert!(text.lines().take_while(|line| !line.starts_with(' ')).all(|line| line.chars().count() <= 80));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_file_without_the_other_routes() {
        let without = State { rollouts: Vec::new(), ..example() };
        assert!(render(&example(), None).starts_with(&render(&without, None)));
        assert!(!render(&without, None).contains("rollout"));
    }

    #[test]
    fn numbers_and_times() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(clock_text(Duration::from_secs(75)), "1:15");
    }

    #[test]
    fn a_table_overwrites_exactly_the_one_before() {
        assert_eq!(erase(0), "");
        assert_eq!(erase(9), "\x1b[9A\x1b[J");
    }
}
