//! Mistakes that the template engine itself would only find when a request comes.
//!
//! Goes over the source once, without a grammar: strings, tags and the words behind `|` and `is`. What
//! it lets pass may still fail. It refuses what the engine cannot bound: `*`, which repeats texts, a slice
//! with a step, which an empty text cannot have, and values that grow (see [`growth`](super::growth)).

use super::growth::Growth;
use super::template::Mistake;

/// Filters that templates may use. Left out are those whose output can be far larger than what they
/// are given (`replace`, `format`, `indent`, `batch`, `slice`, `zip`, `chain`) and those that switch
/// escaping off (`safe`, `escape`).
pub(super) const FILTERS: [&str; 38] = [
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
    "times",
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
    let mut growth = Growth::default();
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
        let refused = |(found, help)| Mistake::at(source, at, found, help);
        let text = match rest.as_bytes() {
            [b'{', b'{' | b'%', ..] => {
                let (words, length) = tag(source, at)?;
                if words == ["raw"] && rest.starts_with("{%") {
                    let raw = raw(&rest[length..]);
                    growth.text(raw).map_err(refused)?;
                    at += length + raw;
                } else {
                    growth.tag(&words, rest.starts_with("{%")).map_err(refused)?;
                    at += length;
                }
                continue;
            }
            [b'{', b'#', ..] => {
                at += rest[2..].find("#}").map_or(rest.len(), |end| 2 + end + 2);
                continue;
            }
            [b'\\', b'\\' | b'"', ..] if quoted => 2,
            [b'"', ..] => {
                quoted = !quoted;
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        growth.text(text).map_err(refused)?;
        at += text;
    }
    Ok(())
}

/// The length of what stands before `{% endraw %}`.
fn raw(rest: &str) -> usize {
    let ends = |tag: &str| {
        let tag = tag.trim_start_matches(['-', '+']).trim_start();
        tag.strip_prefix("endraw").is_some_and(|rest| {
            let rest = rest.trim_start();
            rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with("%}")
        })
    };
    let end = rest.match_indices("{%").find(|(at, _)| ends(&rest[at + 2..]));
    end.map_or(rest.len(), |(at, _)| at)
}

/// The words of the tag at a place, which are judged on the way, and its length.
fn tag(source: &str, start: usize) -> Result<(Vec<&str>, usize), Mistake> {
    let closing = if source[start..].starts_with("{{") { "}}" } else { "%}" };
    let trimmed = source[start + 2..].starts_with(['-', '+']);
    let mut at = start + 2 + usize::from(trimmed);
    let mut before = [Word::Opening, Word::Opening];
    let mut words = Vec::new();
    // Brackets that are open, with the colons in them.
    let mut open: Vec<(char, usize)> = Vec::new();
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let ends = rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with(closing);
        if ends && !open.iter().any(|(bracket, _)| *bracket == '{') {
            return Ok((words, at + rest.find(closing).unwrap_or(0) + 2 - start));
        }
        let letter = rest.chars().next().unwrap_or(' ');
        let word: &str = match letter {
            '"' | '\'' => string(rest),
            _ if letter.is_alphabetic() || letter == '_' => word(rest),
            _ => &rest[..letter.len_utf8()],
        };
        operator(source, at, letter, &mut open)?;
        if !letter.is_whitespace() {
            judge(source, at, word, before)?;
            before = [before[1], Word::of(word)];
            words.push(word);
        }
        at += word.len();
    }
    Ok((words, source.len() - start))
}

/// Refuses what has no bounds in the engine.
fn operator(source: &str, at: usize, letter: char, open: &mut Vec<(char, usize)>) -> Result<(), Mistake> {
    match (letter, open.last_mut()) {
        ('*', _) => {
            let help = "it would also repeat a text, without bounds; for numbers: {{ x | times(2) }}";
            return Err(Mistake::at(source, at, "`*` in a template", help));
        }
        (':', Some(('[', colons))) => {
            *colons += 1;
            if *colons > 1 {
                return Err(Mistake::at(source, at, "a slice with a step", "`| reverse` turns a text or list around"));
            }
        }
        ('[' | '{' | '(', _) => open.push((letter, 0)),
        (']' | '}' | ')', _) => {
            open.pop();
        }
        _ => {}
    }
    Ok(())
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
