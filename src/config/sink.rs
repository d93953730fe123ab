//! Where mistakes gather while a configuration is read.

use std::cell::RefCell;

use super::node::Origin;
use super::report::{Diagnostic, Severity};

/// The mistakes so far. Shared by reference through all of reading, which is single-threaded.
#[derive(Debug, Default)]
pub(super) struct Sink {
    diagnostics: RefCell<Vec<Diagnostic>>,
    hidden: RefCell<Vec<Origin>>,
}

impl Sink {
    /// Adds an error.
    pub(super) fn error(&self, origin: &Origin, path: &str, found: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, origin, path, found.into(), help.into());
    }

    /// Adds a warning.
    pub(super) fn warning(&self, origin: &Origin, path: &str, found: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, origin, path, found.into(), help.into());
    }

    /// Never shows what stands there.
    pub(super) fn hide(&self, origin: &Origin) {
        self.hidden.borrow_mut().push(origin.clone());
    }

    fn add(&self, severity: Severity, origin: &Origin, path: &str, found: String, help: String) {
        let path = path.to_owned();
        let help = help.trim_end().to_owned();
        let diagnostic = Diagnostic { severity, origin: origin.clone(), path, found, help, hidden: Vec::new() };
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// All mistakes in the order of their places, with what must not be shown.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.into_inner();
        let hidden = self.hidden.into_inner();
        for diagnostic in &mut diagnostics {
            let Origin::Source { source, .. } = &diagnostic.origin else { continue };
            let here = hidden.iter().filter_map(|origin| match origin {
                Origin::Source { source: other, span } if other.name == source.name => Some(span.clone()),
                Origin::Source { .. } | Origin::Default => None,
            });
            diagnostic.hidden = here.collect();
        }
        super::report::sort(&mut diagnostics);
        diagnostics
    }
}
