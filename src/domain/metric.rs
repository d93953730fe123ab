//! What is measured: kinds of metrics, their directions, and the values of one request.
//!
//! A metric has a name and a kind; where its values come from is configuration. Nothing here adds
//! values up, which is [`evidence`](super::evidence)'s part.

use serde_json::Value;

/// Largest measured number, of either sign: with larger ones sums of squares would overflow.
pub const MAX_NUMBER: f64 = 1e75;

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whether something happened: 0 or 1.
    Occurrence,
    /// How often it happened: a number that is not negative.
    Count,
    /// A measured number.
    Value,
    /// The sum of one metric over the sum of another.
    Ratio,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Occurrence, Self::Count, Self::Value, Self::Ratio];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Occurrence => "occurrence",
            Self::Count => "count",
            Self::Value => "value",
            Self::Ratio => "ratio",
        }
    }

    /// Reads the word that [`Kind::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// A number as this kind takes it; `None` if it does not.
    #[must_use]
    pub fn accept(self, number: f64) -> Option<f64> {
        let fits = match self {
            Self::Occurrence => number == 0.0 || number == 1.0,
            Self::Count => number >= 0.0,
            Self::Value => true,
            // A ratio is computed, never measured.
            Self::Ratio => false,
        };
        (fits && number.abs() <= MAX_NUMBER).then_some(number)
    }

    /// A text as this kind takes it: a number, or for an occurrence also `true` and `false`, which caches
    /// and others write as `hit` and `miss`.
    #[must_use]
    pub fn read(self, text: &str) -> Option<f64> {
        let text = text.trim();
        if self == Self::Occurrence {
            let is_one_of = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
            if is_one_of(["true", "yes", "hit"]) {
                return Some(1.0);
            }
            if is_one_of(["false", "no", "miss"]) {
                return Some(0.0);
            }
        }
        self.accept(text.parse().ok()?)
    }

    /// A JSON value as this kind takes it: numbers, numbers in strings, and for an occurrence `true` and
    /// `false`; for a count also the length of a list, such as the keywords of a document.
    #[must_use]
    pub fn read_json(self, value: &Value) -> Option<f64> {
        match value {
            Value::Number(number) => self.accept(number.as_f64()?),
            Value::String(text) => self.read(text),
            Value::Bool(word) if self == Self::Occurrence => Some(f64::from(u8::from(*word))),
            Value::Array(items) if self == Self::Count => Some(items.len() as f64),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Which direction of a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
}

impl Better {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// What the gateway measures by itself, of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Requests, by assigned arm.
    Requests,
    /// Whether the user saw an error: a status of 500 and above, or an answer that broke off.
    Errors,
    /// Whether control answered because the candidate failed.
    Fallbacks,
    /// Milliseconds from arrival to the last byte.
    Latency,
    /// Milliseconds from arrival to the first byte.
    FirstByte,
    /// Whether an attempt failed, by the arm that was tried: health, not experience.
    AttemptErrors,
    /// Milliseconds of an attempt, by the arm that was tried.
    AttemptLatency,
    /// Requests, by the arm that answered.
    Served,
}

impl BuiltIn {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Errors,
        Self::Fallbacks,
        Self::Latency,
        Self::FirstByte,
        Self::AttemptErrors,
        Self::AttemptLatency,
        Self::Served,
    ];

    /// Its name, which no metric of a file can have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::Fallbacks => "fallbacks",
            Self::Latency => "latency",
            Self::FirstByte => "first_byte",
            Self::AttemptErrors => "attempt_errors",
            Self::AttemptLatency => "attempt_latency",
            Self::Served => "served",
        }
    }

    /// Reads the name that [`BuiltIn::as_str`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// How many of its unit one of what is added up is: times are added up in microseconds.
    #[must_use]
    pub const fn scale(self) -> f64 {
        match self {
            Self::Latency | Self::FirstByte | Self::AttemptLatency => 1e-3,
            Self::Requests | Self::Errors | Self::Fallbacks | Self::AttemptErrors | Self::Served => 1.0,
        }
    }

    /// What it counts.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Requests | Self::Served => Kind::Count,
            Self::Errors | Self::Fallbacks | Self::AttemptErrors => Kind::Occurrence,
            Self::Latency | Self::FirstByte | Self::AttemptLatency => Kind::Value,
        }
    }

    /// Which direction is good.
    #[must_use]
    pub const fn better(self) -> Better {
        match self {
            Self::Requests | Self::Served => Better::Higher,
            Self::Errors
            | Self::Fallbacks
            | Self::Latency
            | Self::FirstByte
            | Self::AttemptErrors
            | Self::AttemptLatency => Better::Lower,
        }
    }
}

/// A metric that a condition or another metric refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricRef {
    /// One of the file, by its place there.
    Own(usize),
    /// One of the gateway.
    BuiltIn(BuiltIn),
}

/// What a language model's answer tells of its own use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the answer.
    OutputTokens,
    /// Both.
    TotalTokens,
    /// In the currency of the file's prices.
    Cost,
    /// Milliseconds from sending to the first token.
    FirstToken,
    /// Milliseconds for each token after the first.
    PerOutputToken,
    /// Tokens of the answer for each second after the first token.
    TokensPerSecond,
}

impl Usage {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::InputTokens,
        Self::OutputTokens,
        Self::TotalTokens,
        Self::Cost,
        Self::FirstToken,
        Self::PerOutputToken,
        Self::TokensPerSecond,
    ];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::TotalTokens => "total_tokens",
            Self::Cost => "cost",
            Self::FirstToken => "first_token",
            Self::PerOutputToken => "per_output_token",
            Self::TokensPerSecond => "tokens_per_second",
        }
    }

    /// Reads the word that [`Usage::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|usage| usage.as_str() == word)
    }
}

/// A metric for as long as the process lives: its name's number, whatever becomes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(pub u16);

/// Most metrics that one request can have values of.
pub const MAX_VALUES: usize = 12;

/// The values of one request, by metric: at most [`MAX_VALUES`], so that a ring of them is a bound on memory. Most
/// requests have none, and records are moved often: without values this holds nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(Vec<(MetricId, f64)>);

impl Values {
    /// Notes a value. The later one of the same metric counts; what comes beyond [`MAX_VALUES`] is left
    /// out, which the configuration rules out.
    pub fn put(&mut self, metric: MetricId, value: f64) {
        if let Some(known) = self.0.iter_mut().find(|(known, _)| *known == metric) {
            known.1 = value;
        } else if self.0.len() < MAX_VALUES {
            self.0.push((metric, value));
        }
    }

    /// The value of a metric.
    #[must_use]
    pub fn get(&self, metric: MetricId) -> Option<f64> {
        self.iter().find(|(known, _)| *known == metric).map(|(_, value)| value)
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (MetricId, f64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_read_by_kind() {
        let rows = [
            (Kind::Occurrence, "true", Some(1.0)),
            (Kind::Occurrence, " HIT ", Some(1.0)),
            (Kind::Occurrence, "miss", Some(0.0)),
            (Kind::Occurrence, "0", Some(0.0)),
            (Kind::Occurrence, "2", None),
            (Kind::Occurrence, "maybe", None),
            (Kind::Count, "3", Some(3.0)),
            (Kind::Count, "-1", None),
            (Kind::Value, "-1.5e3", Some(-1500.0)),
            (Kind::Value, "NaN", None),
            (Kind::Value, "inf", None),
            (Kind::Value, "", None),
            (Kind::Value, "hit", None),
            (Kind::Ratio, "1", None),
        ];
        for (kind, text, expected) in rows {
            assert_eq!(kind.read(text), expected, "{kind:?} {text:?}");
        }
    }

    #[test]
    fn json_is_read_by_kind() {
        let rows = [
            (Kind::Occurrence, json!(true), Some(1.0)),
            (Kind::Value, json!(true), None),
            (Kind::Value, json!("0.7"), Some(0.7)),
            (Kind::Count, json!(["a", "b"]), Some(2.0)),
            (Kind::Value, json!(["a", "b"]), None),
            (Kind::Value, json!(null), None),
            (Kind::Count, json!(1e75), Some(1e75)),
            (Kind::Count, json!(1e76), None),
            (Kind::Value, json!(-1e300), None),
            (Kind::Value, json!({}), None),
        ];
        for (kind, value, expected) in rows {
            assert_eq!(kind.read_json(&value), expected, "{kind:?} {value}");
        }
    }

    #[test]
    fn values_are_found_by_metric_and_bounded() {
        let mut values = Values::default();
        values.put(MetricId(3), 1.0);
        values.put(MetricId(3), 2.0);
        assert_eq!((values.get(MetricId(3)), values.get(MetricId(0))), (Some(2.0), None));
        (0..100).for_each(|id| values.put(MetricId(id), f64::from(id)));
        assert_eq!(values.iter().count(), MAX_VALUES);
        assert!(Kind::ALL.iter().all(|kind| Kind::parse(kind.as_str()) == Some(*kind)));
        assert!(BuiltIn::ALL.iter().all(|metric| BuiltIn::parse(metric.as_str()) == Some(*metric)));
        assert!(Usage::ALL.iter().all(|usage| Usage::parse(usage.as_str()) == Some(*usage)));
    }
}
