//! How much larger than a body the values of a template can become, found when it is compiled.
//!
//! The engine counts steps, not bytes: `{% set a = a ~ a %}` a few times over would fill the memory. Sizes
//! are counted in units from above, without a grammar: a name that comes from outside is one unit, at most a
//! whole body; a variable is all that stands in the tag that sets it. Loops forget their variables at every
//! turn, so one pass over the source is enough. Invariant: in a template that passed, no expression is made
//! of more than [`MAX_GROWTH`] units.

use std::collections::BTreeMap;

/// Most units of one tag.
pub(super) const MAX_GROWTH: u32 = 64;
/// Most bytes of the template's own text that a loop repeats into a variable: nothing counts them there.
pub(super) const MAX_REPEATED_TEXT: usize = 2 << 10;
/// Units of what is bounded in bytes while it is made: captured text, `join` and `tojson`.
const BOUNDED: u32 = 16;

/// Words of the grammar, which are nothing's names.
const KEYWORDS: [&str; 24] = [
    "and",
    "autoescape",
    "elif",
    "else",
    "endautoescape",
    "endfilter",
    "endfor",
    "endif",
    "endset",
    "endwith",
    "false",
    "filter",
    "for",
    "if",
    "in",
    "is",
    "loop",
    "none",
    "not",
    "or",
    "recursive",
    "set",
    "true",
    "with",
];

/// What was seen of a template so far.
#[derive(Default)]
pub(super) struct Growth<'a> {
    /// Units of the variables, the most that each ever has.
    variables: BTreeMap<&'a str, u32>,
    blocks: Vec<Block>,
    repeated: usize,
}

#[derive(PartialEq, Eq)]
enum Block {
    Loop,
    Captured,
}

/// What was found, and what would be right.
type Refusal = (String, String);

impl<'a> Growth<'a> {
    /// Text between tags.
    pub(super) fn text(&mut self, bytes: usize) -> Result<(), Refusal> {
        let captured = self.blocks.iter().position(|block| *block == Block::Captured);
        if captured.is_some_and(|captured| self.blocks[captured..].contains(&Block::Loop)) {
            self.repeated += bytes;
        }
        if self.repeated <= MAX_REPEATED_TEXT {
            return Ok(());
        }
        let found = "too much text that a loop repeats into a variable".to_owned();
        Err((found, format!("at most {MAX_REPEATED_TEXT} bytes; write it where it is put together")))
    }

    /// The words of a tag; `statement` if it is no placeholder.
    pub(super) fn tag(&mut self, words: &[&'a str], statement: bool) -> Result<(), Refusal> {
        let kind = words.first().copied().filter(|_| statement).unwrap_or_default();
        let sets = kind == "set" && words.contains(&"=");
        self.blocks(kind, sets);
        if kind == "for" && words.contains(&"recursive") {
            return Err(("a loop that is `recursive`".to_owned(), "loops within loops".to_owned()));
        }
        // What comes before this word is set, not read.
        let until = match kind {
            "for" => words.iter().position(|word| *word == "in"),
            "set" if sets => words.iter().position(|word| *word == "="),
            "set" => Some(2),
            _ => None,
        };
        let mut total = if kind == "set" && !sets { BOUNDED } else { 0 };
        let mut targets = Vec::new();
        for (index, word) in words.iter().enumerate().filter(|(_, word)| is_name(word)) {
            let around = |place: Option<usize>| place.and_then(|place| words.get(place)).copied().unwrap_or_default();
            let (before, after) = (around(index.checked_sub(1)), [around(Some(index + 1)), around(Some(index + 2))]);
            let is_target = until.is_some_and(|until| index < until) || (after[0] == "=" && after[1] != "=");
            match before {
                "." | "is" => {}
                "|" if matches!(*word, "join" | "tojson") => total += BOUNDED,
                "|" => {}
                _ if KEYWORDS.contains(word) => {}
                _ if is_target => {
                    self.set(&targets, total);
                    targets.push(*word);
                }
                _ => total = total.saturating_add(self.variables.get(word).copied().unwrap_or(1)),
            }
        }
        self.set(&targets, total);
        if total <= MAX_GROWTH {
            return Ok(());
        }
        let help = format!("at most {MAX_GROWTH} values, those that its variables are made of among them");
        Err(("a value made of too many others".to_owned(), help))
    }

    fn blocks(&mut self, kind: &str, sets: bool) {
        match kind {
            "for" => self.blocks.push(Block::Loop),
            "set" if !sets => self.blocks.push(Block::Captured),
            "filter" => self.blocks.push(Block::Captured),
            "endfor" | "endset" | "endfilter" => {
                self.blocks.pop();
            }
            _ => {}
        }
    }

    fn set(&mut self, targets: &[&'a str], total: u32) {
        for target in targets {
            let units = self.variables.entry(target).or_insert(1);
            *units = total.max(*units);
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}
