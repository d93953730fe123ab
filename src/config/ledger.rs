//! Everything that was read, once, and the hash over it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Largest file that is read; a configuration of a thousand routes is far smaller.
const MAX_BYTES: u64 = 8 << 20;

/// What was found where a file should be.
pub(super) type Content = Result<Vec<u8>, String>;

/// What was read. A file is read once, so that everything sees the same bytes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: BTreeMap<PathBuf, Content>,
    variables: BTreeMap<String, Option<String>>,
}

impl Ledger {
    /// The bytes of a file, or why there are none.
    pub(super) fn file(&mut self, path: &Path) -> &Content {
        self.files.entry(path.to_owned()).or_insert_with(|| read(path))
    }

    /// The bytes of a file that a key names. It must be an ordinary one: a pipe would block for ever.
    pub(super) fn ordinary_file(&mut self, path: &Path) {
        let odd = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
        self.files
            .entry(path.to_owned())
            .or_insert_with(|| if odd { Err("not a file".to_owned()) } else { read(path) });
    }

    /// A file that was read before.
    pub(super) fn known(&self, path: &Path) -> Option<&Content> {
        self.files.get(path)
    }

    /// Notes that a variable was asked for.
    pub(super) fn variable(&mut self, name: &str, value: Option<&String>) {
        self.variables.insert(name.to_owned(), value.cloned());
    }

    /// Notes something else that the result depends on, or that was looked for.
    pub(super) fn note(&mut self, path: &Path, content: Content) {
        self.files.insert(path.to_owned(), content);
    }

    /// Every path that was read or looked for.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// SHA-256 over all of it, in hex. Paths below `folder` count from there, so that replicas with
    /// the same files in other places agree.
    pub(super) fn hash(&self, folder: &Path) -> String {
        let mut hasher = Sha256::new();
        for (path, content) in &self.files {
            let (found, bytes) = match content {
                Ok(bytes) => (1_u8, bytes.as_slice()),
                Err(reason) => (0_u8, reason.as_bytes()),
            };
            let path = path.strip_prefix(folder).unwrap_or(path);
            field(&mut hasher, path.as_os_str().as_encoded_bytes());
            hasher.update([found]);
            field(&mut hasher, bytes);
        }
        for (name, value) in &self.variables {
            field(&mut hasher, name.as_bytes());
            hasher.update([u8::from(value.is_some())]);
            field(&mut hasher, value.as_deref().unwrap_or_default().as_bytes());
        }
        let mut hex = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// The length goes before the bytes, so that no two lists of fields hash alike.
fn field(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

fn read(path: &Path) -> Content {
    use std::io::Read as _;

    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}
