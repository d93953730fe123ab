//! The text of the file that is made: tables, values with a comment each, and remarks.
//!
//! It knows TOML and nothing of variables. Invariant: what goes into a comment cannot leave it, and a
//! text reads back as it was, dollars included.

/// Where comments behind values begin, if the value leaves room.
const COMMENT_COLUMN: usize = 46;
/// Width of remarks.
const WIDTH: usize = 110;

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A remark of its own, wrapped.
    pub(super) fn remark(&mut self, text: &str) {
        self.wrapped("# ", "# ", text);
    }

    /// A remark that is an item of a list.
    pub(super) fn item(&mut self, text: &str) {
        self.wrapped("#   - ", "#     ", text);
    }

    fn wrapped(&mut self, first: &str, next: &str, text: &str) {
        let mut line = first.to_owned();
        for word in text.split_whitespace() {
            if line.len() + word.len() > WIDTH && line.len() > next.len() {
                self.line(&line);
                line = next.to_owned();
            }
            line.push_str(word);
            line.push(' ');
        }
        self.line(&line);
    }

    /// An empty line, and the head of a table.
    pub(super) fn table(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    /// A value, as TOML writes it, and what is to be known about it.
    pub(super) fn value(&mut self, key: &str, toml: &str, comment: &str) {
        let comment = one_line(comment);
        self.line(&format!("{:COMMENT_COLUMN$} # {comment}", format!("{key} = {toml}")));
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.0.push('\n');
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A TOML string that stands for exactly this text: nothing in it is taken for a variable.
pub(super) fn text(value: &str) -> String {
    placeholder(&value.replace('$', "$$"))
}

/// A TOML string whose `${NAME}` are filled in when the file is read.
pub(super) fn placeholder(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML float.
pub(super) fn float(value: f64) -> String {
    // A zero with a sign is a zero.
    format!("{:?}", if value == 0.0 { 0.0 } else { value })
}

/// A length of time, as the file writes it.
pub(super) fn milliseconds(millis: u64) -> String {
    if millis.is_multiple_of(1_000) { format!("\"{}s\"", millis / 1_000) } else { format!("\"{millis}ms\"") }
}
