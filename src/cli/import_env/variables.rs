//! Reading variables of other programs: typed, with every mistake, and none left out unsaid.
//!
//! It knows kinds of values, not what they are for. Invariant: no value stands in a message unless it
//! is one that was meant to be a number, a word or a switch.

use std::collections::{BTreeMap, BTreeSet};

/// How much of a value is shown in a message.
const SHOWN: usize = 40;
/// Below this Jaro-Winkler similarity a guess confuses more than it helps.
const LIKE: f64 = 0.85;

/// A value, and whether its variable was set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Typed<T> {
    pub(super) name: &'static str,
    pub(super) value: T,
    pub(super) set: bool,
}

impl<T> Typed<T> {
    /// Where the value came from.
    pub(super) fn origin(&self) -> String {
        let Self { name, set, .. } = self;
        if *set { (*name).to_owned() } else { format!("{name} is not set: the default of that program") }
    }
}

/// Reads variables, and gathers what is wrong with them and what is to be told.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    /// Every name that was asked for.
    known: BTreeSet<&'static str>,
    /// `NAME: what was found; what would be right`.
    pub(super) mistakes: Vec<String>,
    /// `NAME: why it is not taken over, and what to do instead`.
    pub(super) notices: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(variables: &'a BTreeMap<String, String>) -> Self {
        Self { variables, known: BTreeSet::new(), mistakes: Vec::new(), notices: Vec::new() }
    }

    /// Whether any of these is set, empty or not.
    pub(super) fn any_set(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.variables.contains_key(*name))
    }

    /// Says that a variable has no counterpart, if it is set.
    pub(super) fn notice<T>(&mut self, typed: &Typed<T>, text: &str) {
        if typed.set {
            self.notices.push(format!("{}: {text}", typed.name));
        }
    }

    /// What the variable holds, as it is; `None` if it is not set.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.insert(name);
        self.variables.get(name).map(String::as_str)
    }

    /// What the variable holds, without spaces around it; an empty one counts as not set, and that is said.
    fn given(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.raw(name)?.trim();
        if value.is_empty() {
            self.notices.push(format!("{name}: it is empty, which counts as not set"));
            return None;
        }
        Some(value)
    }

    pub(super) fn mistake(&mut self, name: &str, found: &str, right: &str) {
        self.mistakes.push(format!("{name}: {found}; expected {right}"));
    }

    /// The default, where there is nothing or a mistake.
    fn parsed<T>(
        &mut self,
        name: &'static str,
        default: T,
        right: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Typed<T> {
        let Some(given) = self.given(name) else { return Typed { name, value: default, set: false } };
        let value = parse(given).unwrap_or_else(|| {
            self.mistake(name, &format!("found {}", shown(given)), right);
            default
        });
        Typed { name, value, set: true }
    }

    /// The words that these programs read between them, in any case.
    pub(super) fn switch(&mut self, name: &'static str, default: bool) -> Typed<bool> {
        self.parsed(name, default, "true or false", |given| match &*given.to_ascii_lowercase() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
            _ => None,
        })
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&mut self, name: &'static str, default: f64, [least, most]: [f64; 2]) -> Typed<f64> {
        let right = format!("a number from {least} to {most}");
        let parse = |given: &str| given.parse().ok().filter(|number: &f64| (least..=most).contains(number));
        self.parsed(name, default, &right, parse)
    }

    /// A whole number from `least` to `most`.
    pub(super) fn count(&mut self, name: &'static str, default: u64, [least, most]: [u64; 2]) -> Typed<u64> {
        let right = format!("a whole number from {least} to {most}");
        let parse = |given: &str| given.parse().ok().filter(|count| (least..=most).contains(count));
        self.parsed(name, default, &right, parse)
    }

    /// One of these words, in any case, or what `default` is without it.
    pub(super) fn word<T: Copy>(&mut self, name: &'static str, default: T, words: &[(&str, T)]) -> Typed<T> {
        let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.parsed(name, default, &format!("one of {list}"), |given| {
            words.iter().find(|(word, _)| word.eq_ignore_ascii_case(given)).map(|(_, value)| *value)
        })
    }

    /// Names every variable that begins like ours and was not asked for. Values are not shown: nobody
    /// knows what they are.
    pub(super) fn name_unknown(&mut self, prefixes: &[&str]) {
        let ours = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        for name in self.variables.keys().filter(ours).filter(|name| !self.known.contains(name.as_str())) {
            let guess = self.guess(name).map_or_else(String::new, |guess| format!("; did you mean {guess}?"));
            // A name of the environment can hold anything but an equals sign.
            self.notices.push(format!("{}: not known here, left out{guess}", name.escape_debug()));
        }
    }

    fn guess(&self, name: &str) -> Option<&'static str> {
        let likeness = |known: &&'static str| strsim::jaro_winkler(name, known);
        let best = self.known.iter().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
        (likeness(&best) >= LIKE).then_some(best)
    }
}

fn shown(value: &str) -> String {
    let start: String = value.chars().take(SHOWN).collect();
    let more = if start.len() < value.len() { "..." } else { "" };
    format!("{start:?}{more}")
}
