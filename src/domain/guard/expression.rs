//! Conditions as people write them: `error_rate > 5%`, `latency.p95 < control * 1.5`, `breaker_open`.
//!
//! ```text
//! condition  = "breaker_open" | "quality_gate_shut" | comparison
//! comparison = metric [ "." statistic ] operator ( quantity | control ) [ "at" number "%" ]
//! control    = "control" [ "*" number ] [ ( "+" | "-" ) quantity ]
//! quantity   = number [ "%" | "us" | "ms" | "s" | "m" | "h" ]
//! ```
//!
//! `at 95%` asks for a confidence that holds at every look. What a metric's name means is looked up elsewhere.

use std::fmt;
use std::ops::Range;

/// Longest condition, in bytes.
const MAX_LENGTH: usize = 256;

/// What is wrong with a condition, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the text.
    pub at: Range<usize>,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub help: String,
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// The candidate's breaker is open.
    BreakerOpen,
    /// The route's quality gate is shut.
    QualityGateShut,
    /// A figure of the candidate beside another one.
    Comparison(Comparison),
}

/// `metric.statistic operator against`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The metric's name, and where it stands.
    pub metric: (String, Range<usize>),
    /// The statistic, if one is named, and where it stands.
    pub statistic: Option<(Statistic, Range<usize>)>,
    /// The operator.
    pub comparator: Comparator,
    /// What the candidate is compared with.
    pub against: Against,
    /// Between 0 and 1, exclusive; `None` compares the figures as they are.
    pub confidence: Option<f64>,
}

/// What becomes one number out of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// The share in which it happened.
    Rate,
    /// The mean, or the ratio.
    Mean,
    /// The median.
    P50,
    /// 95 % are at most this.
    P95,
    /// 99 % are at most this.
    P99,
    /// The sum.
    Sum,
    /// How many values.
    Count,
    /// The sum for each hour.
    PerHour,
    /// The sum for each user who was assigned the arm.
    PerUser,
}

impl Statistic {
    /// Every one.
    pub const ALL: [Self; 9] =
        [Self::Rate, Self::Mean, Self::P50, Self::P95, Self::P99, Self::Sum, Self::Count, Self::PerHour, Self::PerUser];

    /// The word in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::PerHour => "per_hour",
            Self::PerUser => "per_user",
        }
    }

    /// The share of values under it, for quantiles.
    #[must_use]
    pub const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::Rate | Self::Mean | Self::Sum | Self::Count | Self::PerHour | Self::PerUser => None,
        }
    }

    /// Whether it grows with time, so that a window that is not full tells too little.
    #[must_use]
    pub const fn accumulates(self) -> bool {
        matches!(self, Self::Sum | Self::Count | Self::PerHour)
    }
}

/// How two figures are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparator {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Comparator {
    /// Whether `left` stands so to `right`.
    #[must_use]
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Above => left > right,
            Self::AtLeast => left >= right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
        }
    }

    /// Whether it asks for much, not for little.
    #[must_use]
    pub const fn is_upward(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }
}

/// The right side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Against {
    /// A number.
    Number(Quantity),
    /// Control's figure times a factor, plus an offset.
    Control {
        /// The factor.
        factor: f64,
        /// The offset.
        offset: Quantity,
    },
}

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// In the base of the unit: 5 % is 0.05, times are in milliseconds.
    pub number: f64,
    /// The unit.
    pub unit: Unit,
}

/// What a number is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Written without one.
    Plain,
    /// `%`
    Percent,
    /// `us`, `ms`, `s`, `m` or `h`.
    Time,
}

/// Units by factor; a divisor is negative, so that 95 % is exactly 0.95.
const UNITS: [(&str, Unit, f64); 6] = [
    ("%", Unit::Percent, -100.0),
    ("us", Unit::Time, -1_000.0),
    ("ms", Unit::Time, 1.0),
    ("s", Unit::Time, 1_000.0),
    ("m", Unit::Time, 60_000.0),
    ("h", Unit::Time, 3_600_000.0),
];

/// Reads a condition.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse(text: &str) -> Result<Expression, Mistake> {
    if text.len() > MAX_LENGTH {
        let help = format!("a condition has at most {MAX_LENGTH} bytes");
        return Err(Mistake { at: MAX_LENGTH..text.len(), found: format!("{} bytes", text.len()), help });
    }
    let mut scanner = Scanner { text, at: 0 };
    let expression = match scanner.peek_word() {
        "breaker_open" => {
            scanner.word();
            Expression::BreakerOpen
        }
        "quality_gate_shut" => {
            scanner.word();
            Expression::QualityGateShut
        }
        _ => Expression::Comparison(scanner.comparison()?),
    };
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.mistake("nothing more", text.len()));
    }
    Ok(expression)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn comparison(&mut self) -> Result<Comparison, Mistake> {
        let (metric, statistic) = self.metric()?;
        let comparator = self.comparator()?;
        let against = if self.peek_word() == "control" {
            self.word();
            let factor = if self.take("*") { self.factor()? } else { 1.0 };
            let offset = if self.take("+") {
                self.quantity()?
            } else if self.take("-") {
                let quantity = self.quantity()?;
                Quantity { number: -quantity.number, ..quantity }
            } else {
                Quantity { number: 0.0, unit: Unit::Plain }
            };
            Against::Control { factor, offset }
        } else {
            Against::Number(self.quantity()?)
        };
        let confidence = if self.peek_word() == "at" { Some(self.confidence()?) } else { None };
        Ok(Comparison { metric, statistic, comparator, against, confidence })
    }

    /// A name, whose last part is the statistic if it is the word of one.
    #[expect(clippy::type_complexity, reason = "a name and a statistic, each with its place")]
    fn metric(&mut self) -> Result<((String, Range<usize>), Option<(Statistic, Range<usize>)>), Mistake> {
        let (start, name) = self.word();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            self.at = start;
            let help = "a metric, then > >= < or <=: `error_rate > 5%`, `latency.p95 > control * 1.5`";
            return Err(self.mistake(help, self.text.len()));
        }
        let end = start + name.len();
        let split = name.rsplit_once('.');
        let known = split.and_then(|(metric, last)| {
            let statistic = Statistic::ALL.into_iter().find(|statistic| statistic.as_str() == last)?;
            Some((metric, statistic))
        });
        Ok(match known {
            Some((metric, statistic)) => {
                let border = start + metric.len();
                ((metric.to_owned(), start..border), Some((statistic, border + 1..end)))
            }
            None => ((name.to_owned(), start..end), None),
        })
    }

    fn comparator(&mut self) -> Result<Comparator, Mistake> {
        // The longer ones first: `>=` begins with `>`.
        let all = [Comparator::AtLeast, Comparator::AtMost, Comparator::Above, Comparator::Below];
        let found = all.into_iter().find(|comparator| self.take(comparator.as_str()));
        found.ok_or_else(|| self.mistake("one of > >= < <=", self.text.len()))
    }

    fn factor(&mut self) -> Result<f64, Mistake> {
        let start = self.after_space();
        let Quantity { number, unit } = self.quantity()?;
        if unit == Unit::Time || number <= 0.0 {
            self.at = start;
            return Err(self.mistake("a factor above 0, such as 1.5 or 120%", self.text.len()));
        }
        Ok(number)
    }

    fn confidence(&mut self) -> Result<f64, Mistake> {
        self.word();
        let start = self.after_space();
        let Quantity { number, unit } = self.quantity()?;
        if unit == Unit::Percent && (0.5..1.0).contains(&number) {
            return Ok(number);
        }
        self.at = start;
        Err(self.mistake("a confidence from 50% to under 100%, such as 95%", self.text.len()))
    }

    fn quantity(&mut self) -> Result<Quantity, Mistake> {
        let start = self.after_space();
        let rest = &self.text[start..];
        let digits = rest.find(|next: char| !next.is_ascii_digit() && next != '.' && next != '_').unwrap_or(rest.len());
        let number = rest[..digits].replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
        let Some(number) = number else {
            self.at = start;
            return Err(self.mistake("a number such as 0.7, 5% or 300ms, or `control`", self.text.len()));
        };
        self.at = start + digits;
        let unit_at = self.after_space();
        let rest = &self.text[unit_at..];
        let length = if rest.starts_with('%') {
            1
        } else {
            rest.find(|next: char| !next.is_ascii_alphabetic()).unwrap_or(rest.len())
        };
        let word = &rest[..length];
        if word.is_empty() || word == "at" {
            return Ok(Quantity { number, unit: Unit::Plain });
        }
        let Some((_, unit, scale)) = UNITS.into_iter().find(|(known, ..)| *known == word) else {
            self.at = unit_at;
            return Err(self.mistake("one of the units % us ms s m h", unit_at + length));
        };
        self.at = unit_at + length;
        Ok(Quantity { number: if scale < 0.0 { number / -scale } else { number * scale }, unit })
    }

    fn mistake(&mut self, help: &str, end: usize) -> Mistake {
        self.skip_space();
        let end = end.max(self.at);
        let found = match &self.text[self.at..end] {
            "" => "the end of the condition".to_owned(),
            rest => format!("{rest:?}"),
        };
        Mistake {
            at: self.at..end.max(self.at + 1).min(self.text.len().max(1)),
            found,
            help: format!("expected {help}"),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// The next word and where it begins; empty where none stands.
    fn word(&mut self) -> (usize, &'a str) {
        let start = self.after_space();
        let word = self.peek_word();
        self.at = start + word.len();
        (start, word)
    }

    fn peek_word(&mut self) -> &'a str {
        let start = self.after_space();
        let rest = &self.text[start..];
        let is_part = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '/');
        // A minus belongs to a name where letters follow, as in `cache-hits`.
        let end = rest
            .char_indices()
            .find(|(place, next)| {
                let joins = *next == '-' && rest[place + 1..].starts_with(|after: char| after.is_ascii_alphabetic());
                !(is_part(*next) || joins && *place > 0)
            })
            .map_or(rest.len(), |(place, _)| place);
        &rest[..end]
    }

    fn after_space(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Plain => write!(f, "{}", self.number),
            Unit::Percent => write!(f, "{}%", self.number * 100.0),
            Unit::Time => write!(f, "{}ms", self.number),
        }
    }
}
