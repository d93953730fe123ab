//! JSON pointers (RFC 6901), taken apart once, so that following one allocates nothing.

use std::fmt;

use serde_json::Value;

/// Longest pointer in bytes.
pub const MAX_POINTER_BYTES: usize = 512;
/// Most steps of a pointer.
pub const MAX_STEPS: usize = 64;

/// A place in a JSON document: `/org/industry`. The empty pointer is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer(Box<[Box<str>]>);

/// What is wrong with a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// It is not empty and does not begin with a slash.
    #[error("a pointer begins with `/`")]
    NoSlash,
    /// A `~` that is followed by neither 0 nor 1.
    #[error("`~` stands for nothing: `~0` is a tilde, `~1` a slash")]
    Escape,
    /// More than [`MAX_POINTER_BYTES`] or [`MAX_STEPS`].
    #[error("a pointer has at most {MAX_POINTER_BYTES} bytes and {MAX_STEPS} steps")]
    TooLong,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// When it is none by RFC 6901, section 3, or too long.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if text.len() > MAX_POINTER_BYTES {
            return Err(Mistake::TooLong);
        }
        if text.is_empty() {
            return Ok(Self(Box::default()));
        }
        let steps = text.strip_prefix('/').ok_or(Mistake::NoSlash)?.split('/').map(unescape);
        let steps: Box<[Box<str>]> = steps.collect::<Result<_, _>>()?;
        if steps.len() > MAX_STEPS { Err(Mistake::TooLong) } else { Ok(Self(steps)) }
    }

    /// Whether it may point to something in a document with this text; cheaper than reading it.
    #[must_use]
    pub fn may_be_in(&self, text: &[u8]) -> bool {
        let plain = |step: &&str| step.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        // What may be an index or be written with escapes is not looked for.
        self.0
            .iter()
            .rev()
            .map(|step| &**step)
            .find(plain)
            .is_none_or(|step| memchr::memmem::find(text, step.as_bytes()).is_some())
    }

    /// The value that it points to; `None` if there is none.
    #[must_use]
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |value, step| match value {
            Value::Object(fields) => fields.get(&**step),
            Value::Array(items) => items.get(index(step)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// As [`Pointer::find`], to change it.
    pub fn find_mut<'v>(&self, document: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(document, |value, step| match value {
            Value::Object(fields) => fields.get_mut(&**step),
            Value::Array(items) => items.get_mut(index(step)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

/// Digits without leading zeros (RFC 6901, section 4).
fn index(step: &str) -> Option<usize> {
    let is_index = step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    if is_index { step.parse().ok() } else { None }
}

fn unescape(step: &str) -> Result<Box<str>, Mistake> {
    let mut text = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(letter) = rest.next() {
        text.push(match letter {
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some(_) | None => return Err(Mistake::Escape),
            },
            other => other,
        });
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        let rows = [
            ("", Some(document.clone())),
            ("/foo", Some(json!(["bar", "baz"]))),
            ("/foo/0", Some(json!("bar"))),
            ("/", Some(json!(0))),
            ("/a~1b", Some(json!(1))),
            ("/c%d", Some(json!(2))),
            ("/e^f", Some(json!(3))),
            ("/g|h", Some(json!(4))),
            ("/i\\j", Some(json!(5))),
            ("/k\"l", Some(json!(6))),
            ("/ ", Some(json!(7))),
            ("/m~0n", Some(json!(8))),
            ("/foo/2", None),
            ("/foo/01", None),
            ("/foo/+1", None),
            ("/foo/-", None),
            ("/foo/", None),
            ("/foo/0/x", None),
            ("/bar", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Pointer::parse(text).unwrap().find(&document).cloned(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let long = "/x".repeat(MAX_STEPS + 1);
        let rows =
            [("a", Mistake::NoSlash), ("/~", Mistake::Escape), ("/~2", Mistake::Escape), (&long, Mistake::TooLong)];
        for (text, mistake) in rows {
            assert_eq!(Pointer::parse(text), Err(mistake), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_written_as_it_is_read(text in "(/([a-z0-9/]|~0|~1){0,4}){0,6}") {
            prop_assert_eq!(Pointer::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn it_finds_what_the_library_finds(text in "(/(foo|[0-9]{1,2}|~1)){0,4}") {
            let document = json!({"foo": {"0": [1, {"foo": 2}], "/": {"foo": []}}, "1": 3});
            let pointer = Pointer::parse(&text).unwrap();
            prop_assert_eq!(pointer.find(&document), document.pointer(&text));
            let found = pointer.find(&document).is_some();
            prop_assert!(!found || pointer.may_be_in(document.to_string().as_bytes()), "{}", pointer);
        }
    }
}
