//! `targets` of a route: keys in the file itself, and in files beside it with one key a line.
//!
//! What stands in a file of keys is never shown, since keys may be personal data: messages name the line.

use crate::config::node::Node;
use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::assignment::MAX_KEY_BYTES;
use crate::domain::targets::{Mistake, TargetKey, Targets};

/// Mistakes of one file that are told one by one.
const SHOWN_MISTAKES: usize = 10;

/// The keys of one arm: in the list, and in a file.
const KEYS: [(Arm, &str, &str); 2] =
    [(Arm::Control, "control", "control_file"), (Arm::Candidate, "candidate", "candidate_file")];

/// Where a key stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Item(&'static str, &'a Node),
    /// Of the file that this key names; counted from 1.
    Line(&'static str, usize),
}

pub(super) fn of(view: &View<'_>) -> Targets {
    let mut mistakes = Mistakes { view, lines: Vec::new() };
    let mut entries: Vec<(Arm, TargetKey)> = Vec::new();
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut add = |arm: Arm, text: &str, place| match TargetKey::parse(text) {
        Ok(key) => {
            entries.push((arm, key));
            places.push(place);
        }
        Err(mistake) => mistakes.tell(place, &found(mistake), help(mistake)),
    };
    for (arm, list, file) in KEYS {
        for node in view.items(list) {
            if let Some(text) = node.as_text() {
                add(arm, text, Place::Item(list, node));
            }
        }
        let bytes = view.file(file).unwrap_or_default();
        for (number, line) in
            (1..).zip(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).split(|byte| *byte == b'\n'))
        {
            // What is no UTF-8 has a character in its place that no key holds.
            let line = String::from_utf8_lossy(line);
            let text = if line.contains(char::REPLACEMENT_CHARACTER) { "\0" } else { line.trim() };
            if !text.is_empty() && !text.starts_with('#') {
                add(arm, text, Place::Line(file, number));
            }
        }
    }
    let (targets, twice) = Targets::list(entries);
    for index in twice {
        mistakes.tell(places[index], "a key that is listed for both arms", "choose one");
    }
    mistakes.finish();
    targets
}

fn found(mistake: Mistake) -> String {
    match mistake {
        Mistake::Length(bytes) => format!("a key of {bytes} bytes"),
        Mistake::Hash => "`sha256:` without 64 hex digits behind it".to_owned(),
        Mistake::Control => "a key with a control character, or not in UTF-8".to_owned(),
    }
}

fn help(mistake: Mistake) -> &'static str {
    const _: () = assert!(MAX_KEY_BYTES == 256, "the length is told below");
    match mistake {
        Mistake::Length(_) => "keys have 1 to 256 bytes",
        Mistake::Hash => "a hash is that of the key alone: `printf %s KEY | sha256sum`",
        Mistake::Control => "keys are text; in a file each has a line",
    }
}

/// What is wrong; of each file no more than can be read.
struct Mistakes<'v, 'a> {
    view: &'v View<'a>,
    /// By the key that names the file, how many lines were wrong.
    lines: Vec<(&'static str, usize)>,
}

impl Mistakes<'_, '_> {
    fn tell(&mut self, place: Place<'_>, found: &str, help: &str) {
        match place {
            Place::Item(key, node) => self.view.error_at(&node.origin, key, found, help),
            Place::Line(key, number) => {
                let told = self.lines.iter_mut().find(|(other, _)| *other == key);
                let count = match told {
                    Some((_, count)) => {
                        *count += 1;
                        *count
                    }
                    None => {
                        self.lines.push((key, 1));
                        1
                    }
                };
                if count <= SHOWN_MISTAKES {
                    self.view.error(key, format!("line {number} of {:?}: {found}", self.file(key)), help);
                }
            }
        }
    }

    fn finish(self) {
        for (key, count) in &self.lines {
            if let Some(more) = count.checked_sub(SHOWN_MISTAKES).filter(|more| *more > 0) {
                self.view.error(key, format!("{more} more lines of {:?} are wrong", self.file(key)), "");
            }
        }
    }

    fn file(&self, key: &str) -> &str {
        self.view.text(key).unwrap_or_default()
    }
}
