//! The words that compare an attribute with something, and what they compare it with.

use std::fmt;

use super::Type;

/// How an attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Equal. Of a list: one of its items is.
    Eq,
    /// Not equal. Of a list: none of its items is.
    Ne,
    /// Equal to one of several.
    In,
    /// Equal to none of several.
    NotIn,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Begins with.
    Prefix,
    /// Ends with.
    Suffix,
    /// Has this within. Of a list: has this item.
    Contains,
    /// A regular expression matches somewhere; `^` and `$` hold it to the ends.
    Regex,
    /// At least so many characters. Of a list: items.
    MinLength,
    /// At most so many characters. Of a list: items.
    MaxLength,
    /// A version of greater precedence.
    SemverGt,
    /// A version of less precedence.
    SemverLt,
    /// An earlier moment.
    Before,
    /// A later moment.
    After,
    /// An address within a range, or one of several.
    Cidr,
    /// Whether there is a value at all.
    Exists,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 20] = [
        Self::Eq,
        Self::Ne,
        Self::In,
        Self::NotIn,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::Prefix,
        Self::Suffix,
        Self::Contains,
        Self::Regex,
        Self::MinLength,
        Self::MaxLength,
        Self::SemverGt,
        Self::SemverLt,
        Self::Before,
        Self::After,
        Self::Cidr,
        Self::Exists,
    ];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
            Self::Contains => "contains",
            Self::Regex => "regex",
            Self::MinLength => "min_length",
            Self::MaxLength => "max_length",
            Self::SemverGt => "semver_gt",
            Self::SemverLt => "semver_lt",
            Self::Before => "before",
            Self::After => "after",
            Self::Cidr => "cidr",
            Self::Exists => "exists",
        }
    }

    /// Reads the word that [`Operator::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == word)
    }

    /// The types of attributes that it compares.
    #[must_use]
    pub const fn types(self) -> &'static [Type] {
        match self {
            Self::Exists | Self::Eq | Self::Ne | Self::In | Self::NotIn => &Type::ALL,
            Self::Gt | Self::Gte | Self::Lt | Self::Lte => &[Type::Number, Type::Timestamp, Type::Semver],
            Self::Prefix | Self::Suffix | Self::Regex | Self::Cidr => &[Type::String],
            Self::Contains | Self::MinLength | Self::MaxLength => &[Type::String, Type::List],
            Self::SemverGt | Self::SemverLt => &[Type::Semver],
            Self::Before | Self::After => &[Type::Timestamp],
        }
    }
}

/// What an attribute is compared with, as it was typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Several.
    List(Vec<Operand>),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(word) => write!(f, "{word}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}
