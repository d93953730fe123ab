//! `${VAR}`, `${VAR:-default}` and `$$` in strings.

use std::collections::BTreeMap;

use super::node::{Node, Value};

/// A variable that is not set, or an expression that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) found: String,
    pub(super) help: String,
}

/// The text with its variables replaced. Every variable that was asked for goes to `used`.
pub(super) fn expand(
    text: &str,
    environment: &BTreeMap<String, String>,
    used: &mut impl FnMut(&str),
) -> Result<String, Failure> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(behind) = after.strip_prefix('$') {
            result.push('$');
            rest = behind;
        } else if let Some((expression, behind)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            result.push_str(&value_of(expression, environment, used)?);
            rest = behind;
        } else {
            return Err(Failure {
                found: "found a `$` that begins no variable".to_owned(),
                help: "write `${NAME}` or `${NAME:-default}` for a variable, `$$` for a dollar".to_owned(),
            });
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn value_of(
    expression: &str,
    environment: &BTreeMap<String, String>,
    used: &mut impl FnMut(&str),
) -> Result<String, Failure> {
    let (name, default) = expression.split_once(":-").map_or((expression, None), |(name, rest)| (name, Some(rest)));
    let named = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !named {
        return Err(Failure {
            found: format!("`{name}` is not the name of a variable"),
            help: "names have letters, digits and underscores".to_owned(),
        });
    }
    used(name);
    let value = environment.get(name);
    match (value, default) {
        // As in a shell, `:-` stands in for an empty variable, too.
        (Some(value), None) => Ok(value.clone()),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.clone()),
        (Some(_) | None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Failure {
            found: format!("the environment variable `{name}` is not set"),
            help: format!("set it, or give a default: `${{{name}:-...}}`"),
        }),
    }
}

/// Expands every string below a node in place; `failed` gets the path and node of each that cannot be.
pub(super) fn expand_tree(
    node: &mut Node,
    path: &str,
    environment: &BTreeMap<String, String>,
    used: &mut impl FnMut(&str),
    failed: &mut impl FnMut(&str, &Node, Failure),
) {
    let expanded = match &mut node.value {
        Value::Text(text) if text.contains('$') => Some(expand(text, environment, used)),
        Value::List(items) => {
            for item in items {
                expand_tree(item, path, environment, used, failed);
            }
            None
        }
        Value::Table(table) => {
            for (name, entry) in table {
                expand_tree(&mut entry.node, &super::spec::join(path, name), environment, used, failed);
            }
            None
        }
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => None,
    };
    match expanded {
        Some(Ok(text)) => {
            if let Value::Text(typed) = std::mem::replace(&mut node.value, Value::Text(text)) {
                node.typed = Some(typed);
            }
        }
        Some(Err(failure)) => failed(path, node, failure),
        None => {}
    }
}
