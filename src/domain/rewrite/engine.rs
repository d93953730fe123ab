//! The template engine as templates see it: what it may do, and how much it may write.
//!
//! Fuel bounds the steps, [`growth`](super::growth) what expressions are made of, and the counts here what is
//! written into variables and made by filters, which no bounded writer sees.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, filters};

/// Steps that rendering one string may take: about ten for each turn of a loop.
pub const FUEL: u64 = 50_000;
/// Deepest nesting of calls within a template.
const RECURSION: usize = 64;
/// Most bytes that placeholders write in one rendering: captured text does not pass the bounded writer.
const MAX_WRITTEN: usize = 16 << 20;
/// Most bytes that `join` and `tojson` make in one rendering, however often they are called.
const MAX_MADE: usize = 16 << 20;

const TOO_LARGE: &str = "too large";

pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::WriteFailure, TOO_LARGE)
}

pub(super) fn is_too_large(error: &Error) -> bool {
    error.detail() == Some(TOO_LARGE)
}

/// What one rendering may still write and make, in bytes.
struct Left {
    written: usize,
    made: usize,
}

impl Left {
    fn of<'a>(state: &'a mut State<'_, '_>) -> &'a mut Self {
        state.get_or_insert_extension(Self { written: MAX_WRITTEN, made: MAX_MADE })
    }
}

fn take(left: &mut usize, bytes: usize) -> Result<(), Error> {
    *left = left.checked_sub(bytes).ok_or_else(too_large)?;
    Ok(())
}

/// Takes off what writing a value takes, about. Ends early where a value holds others many times over.
fn weigh(value: &Value, left: &mut usize) -> Result<(), Error> {
    take(left, value.as_str().map_or_else(|| width(value), str::len))?;
    let kind = value.kind();
    if kind == ValueKind::Map {
        return value.try_iter()?.try_for_each(|key| {
            weigh(&key, left)?;
            weigh(&value.get_item(&key)?, left)
        });
    }
    if kind == ValueKind::Seq || kind == ValueKind::Iterable {
        return value.try_iter()?.try_for_each(|item| weigh(&item, left));
    }
    Ok(())
}

/// Characters of what is no text, about. Large numbers are written with all their digits.
fn width(value: &Value) -> usize {
    if value.kind() != ValueKind::Number {
        return 1;
    }
    match (value.as_i64(), f64::try_from(value.clone())) {
        (Some(number), _) => number.unsigned_abs().checked_ilog10().map_or(1, |digits| digits as usize + 1),
        (None, Ok(number)) if number == 0.0 || (1e-6..1e18).contains(&number.abs()) => 8,
        (None, _) => 330,
    }
}

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(false);
    environment.set_auto_escape_callback(
        |name| {
            if name.ends_with(".json") { AutoEscape::Json } else { AutoEscape::None }
        },
    );
    environment.set_formatter(write_value);
    for global in ["range", "dict", "debug", "namespace"] {
        environment.remove_global(global);
    }
    for filter in ["safe", "escape", "e", "replace", "indent", "batch", "slice", "zip", "chain", "pprint", "format"] {
        environment.remove_filter(filter);
    }
    environment.add_filter("join", join);
    environment.add_filter("tojson", tojson);
    environment.add_filter("times", times);
    environment
}

/// Writes a value as the template's kind says. `{% autoescape false %}` would let a body end a string.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let json = state.name().ends_with(".json");
    if json != (*state.auto_escape() == AutoEscape::Json) {
        return Err(Error::new(ErrorKind::InvalidOperation, "`autoescape` cannot be changed"));
    }
    weigh(value, &mut Left::of(state).written)?;
    minijinja::escape_formatter(out, state, value)
}

/// Items with a text between them, as Jinja's `join`, bounded: a separator can be as long as a body.
fn join(state: &mut State<'_, '_>, items: &Value, separator: Option<&str>, rest: Rest<Value>) -> Result<String, Error> {
    if !rest.is_empty() {
        return Err(Error::new(ErrorKind::TooManyArguments, "`join` takes a separator; use `map` before it"));
    }
    let left = &mut Left::of(state).made;
    let mut text = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            let separator = separator.unwrap_or_default();
            take(left, separator.len())?;
            text.push_str(separator);
        }
        weigh(&item, left)?;
        match item.as_str() {
            Some(item) => text.push_str(item),
            None => text.push_str(&item.to_string()),
        }
    }
    Ok(text)
}

/// A value as JSON, as Jinja's `tojson`, bounded and without its indentation, which can have any width.
fn tojson(state: &mut State<'_, '_>, value: &Value, rest: Rest<Value>) -> Result<Value, Error> {
    if !rest.is_empty() {
        return Err(Error::new(ErrorKind::TooManyArguments, "`tojson` takes nothing"));
    }
    let left = &mut Left::of(state).made;
    let mut enough = *left;
    weigh(value, &mut enough)?;
    let json = filters::tojson(value, None, std::iter::empty::<(&str, Value)>().collect::<Kwargs>())?;
    take(left, json.as_str().map_or(0, str::len))?;
    Ok(json)
}

/// The product of two numbers. The operator would repeat a text or a list, as often as a body says.
fn times(value: &Value, by: &Value) -> Result<Value, Error> {
    let whole = value.as_i64().zip(by.as_i64()).and_then(|(value, by)| value.checked_mul(by));
    if let Some(product) = whole {
        return Ok(Value::from(product));
    }
    if [value, by].iter().any(|value| value.kind() != ValueKind::Number) {
        return Err(Error::new(ErrorKind::InvalidOperation, "`times` multiplies numbers"));
    }
    Ok(Value::from(f64::try_from(value.clone())? * f64::try_from(by.clone())?))
}
