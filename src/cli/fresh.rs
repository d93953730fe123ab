//! A file that a command makes: there whole under its name, or not at all.
//!
//! It is written under another name beside it. Invariant: what has the name already stays, unless it was
//! said that it may go, and then until there is something whole to take its place.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// See the module.
#[derive(Debug)]
pub(super) struct Fresh {
    path: PathBuf,
    part: PathBuf,
    force: bool,
    /// Where it is written.
    pub(super) file: File,
}

impl Fresh {
    /// Begins a file; with `force` it may replace one.
    pub(super) fn create(path: &Path, force: bool) -> anyhow::Result<Self> {
        if !force && path.symlink_metadata().is_ok() {
            bail!("{} is there already; --force replaces it", path.display());
        }
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".part-{}", std::process::id()));
        let part = PathBuf::from(part);
        let file = OpenOptions::new().write(true).create_new(true).open(&part);
        let file = file.with_context(|| format!("cannot write {}", part.display()))?;
        Ok(Self { path: path.to_owned(), part, force, file })
    }

    /// Where it is written, for who writes by name.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Gives it its name.
    pub(super) fn keep(self) -> anyhow::Result<()> {
        let kept = self.file.sync_all().and_then(|()| {
            if self.force {
                return fs::rename(&self.part, &self.path);
            }
            // Unlike renaming, this replaces nothing; but not every file system can do it.
            match fs::hard_link(&self.part, &self.path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !self.path.exists() => {
                    fs::rename(&self.part, &self.path)
                }
                linked => linked,
            }
        });
        kept.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Mostly it has its name by now.
        let _gone = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_replaced_unasked_and_nothing_half_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let write = |force: bool, text: &str, keep: bool| {
            let mut fresh = Fresh::create(&path, force)?;
            fresh.file.write_all(text.as_bytes()).unwrap();
            if keep { fresh.keep() } else { Ok(()) }
        };
        write(false, "half", false).unwrap();
        assert!(names().is_empty());
        write(false, "one", true).unwrap();
        assert!(write(false, "two", true).is_err());
        write(true, "half", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write(true, "two", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let late = Fresh::create(&folder.path().join("late"), false).unwrap();
        fs::write(folder.path().join("late"), "theirs").unwrap();
        assert!(late.keep().is_err());
        assert_eq!(fs::read_to_string(folder.path().join("late")).unwrap(), "theirs");
        assert_eq!(names().len(), 2);
    }
}
