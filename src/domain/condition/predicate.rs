//! One comparison, compiled: typed when the file is loaded, so that evaluating it cannot fail.

use std::cmp::Ordering;

use core::net::IpAddr;
use ipnet::IpNet;
use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use semver::Version;

use super::fact::version;
use super::{Fact, Operand, Operator, Truth, Type};

/// Largest compiled regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 256 << 10;
/// Largest cache of the lazy automaton of one regular expression, in bytes.
const MAX_REGEX_CACHE_BYTES: usize = 1 << 20;
/// Most items of one list of operands.
pub const MAX_OPERANDS: usize = 10_000;

/// What is wrong with a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What was found.
    pub found: String,
    /// What would be right.
    pub help: String,
    /// The item of a list that is meant, from 0.
    pub item: Option<usize>,
}

/// An attribute's value compared with something.
#[derive(Debug, Clone)]
pub struct Predicate {
    operator: Operator,
    operand: Operand,
    check: Check,
    negated: bool,
}

#[derive(Debug, Clone)]
enum Check {
    Exists(bool),
    /// Sorted.
    Texts(Box<[Box<str>]>),
    Numbers(Box<[f64]>),
    Booleans(Box<[bool]>),
    Timestamps(Box<[Timestamp]>),
    Versions(Box<[Version]>),
    Number(Bound, f64),
    Timestamp(Bound, Timestamp),
    Version(Bound, Version),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Regex(Regex),
    MinLength(usize),
    MaxLength(usize),
    Within(Box<[IpNet]>),
}

/// On which side of the operand a value must lie.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Bound {
    const fn admits(self, ordering: Ordering) -> bool {
        match self {
            Self::Above => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Below => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
        }
    }
}

impl Predicate {
    /// Compiles a comparison of an attribute of this type.
    ///
    /// # Errors
    /// When the operator does not compare such attributes, or the operand is none for them.
    pub fn new(operator: Operator, kind: Type, operand: Operand) -> Result<Self, Mistake> {
        if !operator.types().contains(&kind) {
            return Err(wrong_type(operator, kind));
        }
        let check = compile(operator, kind, &operand)?;
        let negated = matches!(operator, Operator::Ne | Operator::NotIn);
        Ok(Self { operator, operand, check, negated })
    }

    /// How it compares.
    #[must_use]
    pub const fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with.
    #[must_use]
    pub const fn operand(&self) -> &Operand {
        &self.operand
    }

    /// Whether it holds for a value. Without one it is unknown, and only `exists` is not.
    #[must_use]
    pub fn holds(&self, fact: Option<&Fact<'_>>) -> Truth {
        let truth = match (&self.check, fact) {
            (Check::Exists(wanted), fact) => Truth::from(fact.is_some() == *wanted),
            (_, None) => Truth::Unknown,
            (check, Some(fact)) => check.holds(fact),
        };
        if self.negated { !truth } else { truth }
    }
}

impl Check {
    fn holds(&self, fact: &Fact<'_>) -> Truth {
        let holds = match (self, fact) {
            (Self::Texts(wanted), Fact::Text(text)) => is_among(wanted, text),
            (Self::Texts(wanted), Fact::List(items)) => items.iter().any(|item| is_among(wanted, item)),
            (Self::Numbers(wanted), Fact::Number(number)) => wanted.contains(number),
            (Self::Booleans(wanted), Fact::Boolean(word)) => wanted.contains(word),
            (Self::Timestamps(wanted), Fact::Timestamp(time)) => wanted.contains(time),
            (Self::Versions(wanted), Fact::Version(version)) => {
                wanted.iter().any(|other| version.cmp_precedence(other).is_eq())
            }
            (Self::Number(bound, limit), Fact::Number(number)) => {
                number.partial_cmp(limit).is_some_and(|ordering| bound.admits(ordering))
            }
            (Self::Timestamp(bound, limit), Fact::Timestamp(time)) => bound.admits(time.cmp(limit)),
            (Self::Version(bound, limit), Fact::Version(version)) => bound.admits(version.cmp_precedence(limit)),
            (Self::Prefix(prefix), Fact::Text(text)) => text.starts_with(&**prefix),
            (Self::Suffix(suffix), Fact::Text(text)) => text.ends_with(&**suffix),
            (Self::Contains(part), Fact::Text(text)) => text.contains(&**part),
            (Self::Contains(item), Fact::List(items)) => items.iter().any(|other| **other == **item),
            (Self::Regex(regex), Fact::Text(text)) => regex.is_match(text),
            (Self::MinLength(least), Fact::Text(text)) => {
                text.chars().nth(least.saturating_sub(1)).is_some() || *least == 0
            }
            (Self::MaxLength(most), Fact::Text(text)) => text.chars().nth(*most).is_none(),
            (Self::MinLength(least), Fact::List(items)) => items.len() >= *least,
            (Self::MaxLength(most), Fact::List(items)) => items.len() <= *most,
            (Self::Within(networks), Fact::Text(text)) => return within(networks, text),
            // Facts are read in the type that the comparison was compiled for.
            _ => return Truth::Unknown,
        };
        Truth::from(holds)
    }
}

fn is_among(sorted: &[Box<str>], text: &str) -> bool {
    sorted.binary_search_by(|wanted| (**wanted).cmp(text)).is_ok()
}

/// What is no address is as good as missing.
fn within(networks: &[IpNet], text: &str) -> Truth {
    let Ok(address) = text.parse::<IpAddr>() else { return Truth::Unknown };
    let address = address.to_canonical();
    Truth::from(networks.iter().any(|network| network.contains(&address)))
}

fn compile(operator: Operator, kind: Type, operand: &Operand) -> Result<Check, Mistake> {
    Ok(match operator {
        Operator::Exists => Check::Exists(boolean(operand, None)?),
        Operator::Eq | Operator::Ne => equal(kind, std::slice::from_ref(operand), false)?,
        Operator::In | Operator::NotIn => equal(kind, several(operand)?, true)?,
        Operator::Gt | Operator::SemverGt | Operator::After => ordered(Bound::Above, kind, operand)?,
        Operator::Gte => ordered(Bound::AtLeast, kind, operand)?,
        Operator::Lt | Operator::SemverLt | Operator::Before => ordered(Bound::Below, kind, operand)?,
        Operator::Lte => ordered(Bound::AtMost, kind, operand)?,
        Operator::Prefix => Check::Prefix(text(operand, None)?.into()),
        Operator::Suffix => Check::Suffix(text(operand, None)?.into()),
        Operator::Contains => Check::Contains(text(operand, None)?.into()),
        Operator::Regex => Check::Regex(regex(text(operand, None)?)?),
        Operator::MinLength => Check::MinLength(length(operand)?),
        Operator::MaxLength => Check::MaxLength(length(operand)?),
        Operator::Cidr => match operand {
            Operand::List(_) => Check::Within(each(several(operand)?, true, network)?),
            Operand::Text(_) | Operand::Number(_) | Operand::Boolean(_) => {
                Check::Within(Box::new([network(operand, None)?]))
            }
        },
    })
}

fn equal(kind: Type, operands: &[Operand], listed: bool) -> Result<Check, Mistake> {
    Ok(match kind {
        Type::String | Type::List => {
            let mut texts: Box<[Box<str>]> = each(operands, listed, |one, item| text(one, item).map(Box::from))?;
            texts.sort_unstable();
            Check::Texts(texts)
        }
        Type::Number => Check::Numbers(each(operands, listed, number)?),
        Type::Boolean => Check::Booleans(each(operands, listed, boolean)?),
        Type::Timestamp => Check::Timestamps(each(operands, listed, timestamp)?),
        Type::Semver => Check::Versions(each(operands, listed, semver)?),
    })
}

fn ordered(bound: Bound, kind: Type, operand: &Operand) -> Result<Check, Mistake> {
    match kind {
        Type::Timestamp => timestamp(operand, None).map(|limit| Check::Timestamp(bound, limit)),
        Type::Semver => semver(operand, None).map(|limit| Check::Version(bound, limit)),
        Type::Number | Type::String | Type::Boolean | Type::List => {
            number(operand, None).map(|limit| Check::Number(bound, limit))
        }
    }
}

fn each<T>(
    operands: &[Operand],
    listed: bool,
    one: impl Fn(&Operand, Option<usize>) -> Result<T, Mistake>,
) -> Result<Box<[T]>, Mistake> {
    operands.iter().enumerate().map(|(index, operand)| one(operand, listed.then_some(index))).collect()
}

fn several(operand: &Operand) -> Result<&[Operand], Mistake> {
    match operand {
        Operand::List(items) if items.is_empty() => Err(wrong(operand, "name one at least", None)),
        Operand::List(items) if items.len() > MAX_OPERANDS => {
            let found = format!("{} items", items.len());
            Err(Mistake { found, help: format!("at most {MAX_OPERANDS}"), item: None })
        }
        Operand::List(items) => Ok(items),
        Operand::Text(_) | Operand::Number(_) | Operand::Boolean(_) => Err(wrong(operand, "expected a list", None)),
    }
}

fn text(operand: &Operand, item: Option<usize>) -> Result<&str, Mistake> {
    match operand {
        Operand::Text(text) => Ok(text),
        Operand::Number(_) => {
            Err(wrong(operand, r#"expected a string: put it in quotes, or give the attribute type = "number""#, item))
        }
        Operand::Boolean(_) => {
            Err(wrong(operand, r#"expected a string: put it in quotes, or give the attribute type = "boolean""#, item))
        }
        Operand::List(_) => Err(wrong(operand, "expected a string", item)),
    }
}

fn boolean(operand: &Operand, item: Option<usize>) -> Result<bool, Mistake> {
    if let Operand::Boolean(word) = operand {
        Ok(*word)
    } else {
        Err(wrong(operand, "expected `true` or `false`", item))
    }
}

fn number(operand: &Operand, item: Option<usize>) -> Result<f64, Mistake> {
    let number = if let Operand::Number(number) = operand { *number } else { f64::NAN };
    if number.is_finite() {
        Ok(number)
    } else {
        Err(wrong(operand, "expected a number, since the attribute is one", item))
    }
}

fn timestamp(operand: &Operand, item: Option<usize>) -> Result<Timestamp, Mistake> {
    let time = if let Operand::Text(text) = operand { text.parse().ok() } else { None };
    time.ok_or_else(|| wrong(operand, r#"expected a moment with its offset, for example "2026-11-20T08:00:00Z""#, item))
}

fn semver(operand: &Operand, item: Option<usize>) -> Result<Version, Mistake> {
    let found = if let Operand::Text(text) = operand { version(text) } else { None };
    found.ok_or_else(|| wrong(operand, r#"expected a version of three numbers, for example "2.10.0""#, item))
}

fn network(operand: &Operand, item: Option<usize>) -> Result<IpNet, Mistake> {
    let text = if let Operand::Text(text) = operand { text.as_str() } else { "" };
    let found = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    found.ok_or_else(|| wrong(operand, r#"expected an address range, for example "10.0.0.0/8""#, item))
}

fn length(operand: &Operand) -> Result<usize, Mistake> {
    let number = if let Operand::Number(number) = operand { *number } else { f64::NAN };
    let is_length = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    if is_length {
        Ok(number as usize)
    } else {
        Err(wrong(operand, "expected a whole number that is not negative", None))
    }
}

fn regex(pattern: &str) -> Result<Regex, Mistake> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_CACHE_BYTES).build();
    built.map_err(|error| Mistake {
        found: format!("{pattern:?} is not a regular expression that can be used"),
        help: if let regex::Error::CompiledTooBig(limit) = error {
            format!("compiled it has more than {limit} bytes")
        } else {
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        },
        item: None,
    })
}

fn wrong(operand: &Operand, help: &str, item: Option<usize>) -> Mistake {
    Mistake { found: format!("found {operand}"), help: help.to_owned(), item }
}

fn wrong_type(operator: Operator, kind: Type) -> Mistake {
    let types: Vec<String> = operator.types().iter().map(|kind| format!("{:?}", kind.as_str())).collect();
    Mistake {
        found: format!("`{}` does not compare an attribute of type {:?}", operator.as_str(), kind.as_str()),
        help: format!("it compares {}: see `type` of the attribute in [contexts]", types.join(", ")),
        item: None,
    }
}
