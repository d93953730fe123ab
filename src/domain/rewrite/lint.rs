//! Mistakes that the template engine itself would only find when a request comes.
//!
//! Goes over the source once, without a grammar: strings, tags and the words behind `|` and `is`. What
//! it lets pass may still fail; it is no guard against anything.

use super::template::Mistake;

/// Filters that templates may use. Left out are those whose output can be far larger than what they
/// are given (`replace`, `format`, `indent`, `batch`, `slice`, `zip`, `chain`) and those that switch
/// escaping off (`safe`, `escape`).
pub(super) const FILTERS: [&str; 37] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// Tests that templates may use behind `is`.
pub(super) const TESTS: [&str; 34] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
    "lessthan",
    "greaterthan",
    "filter",
    "test",
];

/// Looks at a source; `quoted` says whether its text is JSON, where a value brings its own quotes.
pub(super) fn lint(source: &str, json: bool) -> Result<(), Mistake> {
    let mut quoted = false;
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("{{") && quoted && json {
            return Err(Mistake::at(
                source,
                at,
                "a value within quotes",
                "a value brings its own quotes: write {{ (\"text \" ~ value) }}, or make the template a table of texts",
            ));
        }
        at += match rest.as_bytes() {
            [b'{', b'{' | b'%', ..] => tag(source, at)?,
            [b'{', b'#', ..] => rest.find("#}").map_or(rest.len(), |end| end + 2),
            [b'\\', ..] if quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            [b'"', ..] => {
                quoted = !quoted;
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    Ok(())
}

/// The length of the tag at a place. Its words are judged on the way.
fn tag(source: &str, start: usize) -> Result<usize, Mistake> {
    let closing = if source[start..].starts_with("{{") { "}}" } else { "%}" };
    let trimmed = source[start + 2..].starts_with(['-', '+']);
    let mut at = start + 2 + usize::from(trimmed);
    let mut before = [Word::Opening, Word::Opening];
    let mut braces = 0_usize;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        if braces == 0 && rest.starts_with(closing) {
            let raw = source[start + 2..at].trim_matches(['-', '+', ' ']) == "raw";
            let end = if raw { source[at..].find("endraw").map_or(source.len(), |found| at + found) } else { at + 2 };
            return Ok(end - start);
        }
        let letter = rest.chars().next().unwrap_or(' ');
        let word: &str = match letter {
            '"' | '\'' => string(rest),
            _ if letter.is_alphabetic() || letter == '_' => word(rest),
            _ => &rest[..letter.len_utf8()],
        };
        match letter {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        if !letter.is_whitespace() {
            judge(source, at, word, before)?;
            before = [before[1], Word::of(word)];
        }
        at += word.len();
    }
    Ok(source.len() - start)
}

/// What a word means for the one behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Pipe,
    Is,
    Not,
    Filter,
    Opening,
    Other,
}

impl Word {
    fn of(word: &str) -> Self {
        match word {
            "|" => Self::Pipe,
            "is" => Self::Is,
            "not" => Self::Not,
            "filter" => Self::Filter,
            _ => Self::Other,
        }
    }
}

fn judge(source: &str, at: usize, word: &str, before: [Word; 2]) -> Result<(), Mistake> {
    let is_word = word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
    let known = |words: &[&str]| !is_word || words.contains(&word);
    let (what, words): (&str, &[&str]) = match before {
        [_, Word::Pipe] | [Word::Opening, Word::Filter] => ("filter", &FILTERS),
        [_, Word::Is] if word != "not" => ("test", &TESTS),
        [Word::Is, Word::Not] => ("test", &TESTS),
        _ => return Ok(()),
    };
    if known(words) {
        return Ok(());
    }
    Err(Mistake::at(source, at, format!("there is no {what} `{word}`"), format!("there are: {}", words.join(", "))))
}

/// A string with its quotes; all that is left if it does not end.
fn string(text: &str) -> &str {
    let mut letters = text.char_indices();
    let quote = letters.next().map(|(_, quote)| quote);
    let mut escaped = false;
    for (at, letter) in letters {
        if Some(letter) == quote && !escaped {
            return &text[..at + 1];
        }
        escaped = letter == '\\' && !escaped;
    }
    text
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}
