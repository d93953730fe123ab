//! Where to look for events: the directories whose entries decide what a path leads to.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Symbolic links followed for one path; the kernel stops at as many.
const MAX_LINKS: usize = 40;

/// The directories, themselves without symbolic links, in which an event may mean that one of `paths`
/// leads to something else than before: the parent of what it leads to, the parent of every link on
/// the way, the directory itself where it is one, and the nearest that exists where nothing is there.
pub(super) fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in paths {
        // Only an empty path has no absolute form, and nothing can be read from there.
        if let Ok(path) = std::path::absolute(path) {
            trace(&path, &mut found);
        }
    }
    found
}

/// A step of a path that is still to be taken.
enum Step {
    Root,
    Up,
    Into(OsString),
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> impl Iterator<Item = Step> + '_ {
    path.components().rev().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Resolves a path one step at a time, as the kernel does.
fn trace(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let mut at = PathBuf::new();
    let mut links = 0;
    let mut ahead: Vec<Step> = steps(path).collect();
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::Root => {
                at = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                at.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        let next = at.join(name);
        match std::fs::symlink_metadata(&next) {
            Ok(there) if there.is_symlink() => {
                found.insert(at.clone());
                links += 1;
                let Some(target) = std::fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS) else { return };
                ahead.extend(steps(&target));
            }
            Ok(there) if there.is_dir() => {
                if ahead.is_empty() {
                    found.insert(std::mem::replace(&mut at, next.clone()));
                    found.insert(next);
                } else {
                    at = next;
                }
            }
            Ok(_) | Err(_) => {
                found.insert(at);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Makes a layout in a fresh directory and compares the places for `path`, all relative to it.
    fn check(name: &str, layout: impl FnOnce(&Path), path: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        layout(&root);
        let expected: BTreeSet<PathBuf> =
            expected.iter().map(|place| root.join(place).components().collect()).collect();
        assert_eq!(directories(&[root.join(path)]), expected, "{name}");
    }

    #[test]
    fn places() {
        let file = |root: &Path| fs::write(root.join("f"), "").unwrap();
        check("a plain file", file, "f", &[""]);
        check("a file that is not there", |_| (), "f", &[""]);
        check("a folder that is not there", |_| (), "a/b/f", &[""]);
        check("a folder", |root| fs::create_dir(root.join("routes.d")).unwrap(), "routes.d", &["", "routes.d"]);
        let below = |root: &Path| {
            file(root);
            fs::create_dir(root.join("a")).unwrap();
        };
        check("dots", below, "./a/.././f", &[""]);
    }

    #[test]
    fn places_behind_links() {
        let config_map = |root: &Path| {
            fs::create_dir(root.join("..1")).unwrap();
            fs::write(root.join("..1/f"), "").unwrap();
            symlink("..1", root.join("..data")).unwrap();
            symlink("..data/f", root.join("f")).unwrap();
        };
        check("a ConfigMap", config_map, "f", &["", "..1"]);
        let git_sync = |root: &Path| {
            fs::create_dir_all(root.join("git/.worktrees/abc/conf")).unwrap();
            fs::write(root.join("git/.worktrees/abc/conf/f"), "").unwrap();
            symlink(".worktrees/abc", root.join("git/current")).unwrap();
            fs::create_dir(root.join("etc")).unwrap();
            symlink(root.join("git/current/conf/f"), root.join("etc/f")).unwrap();
        };
        check("git-sync", git_sync, "etc/f", &["etc", "git", "git/.worktrees/abc/conf"]);
        check("a dangling link", |root| symlink("gone/f", root.join("f")).unwrap(), "f", &[""]);
        check("a circle", |root| symlink("f", root.join("f")).unwrap(), "f", &[""]);
    }

    #[test]
    fn an_empty_path_has_no_places() {
        assert_eq!(directories(&[PathBuf::new()]), BTreeSet::new());
    }
}
