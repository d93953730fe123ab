//! Files that are mount points themselves: nothing that happens to their name outside reaches them.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel lists the mounts that this process sees.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Those of `paths` that are files and mount points, resolved. None where the kernel does not tell.
pub(super) fn mounted_files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(table) = std::fs::read(MOUNTS) else { return Vec::new() };
    let points = mount_points(&table);
    let resolved = paths.iter().filter_map(|path| std::fs::canonicalize(path).ok());
    resolved.filter(|path| path.is_file() && points.contains(path)).collect()
}

/// The mount points of a table in the form of proc(5): the fifth field of each line.
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape).collect()
}

/// Blanks, tabs, line ends and backslashes stand as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| after.get(..3).and_then(octal)).flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    Path::new(&std::ffi::OsString::from_vec(bytes)).to_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `docker run -v ./gateway.toml:/etc/pointsman/gateway.toml` and a Kubernetes `subPath` show it.
    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
814 801 254:1 /home/me/gateway.toml /etc/pointsman/gateway.toml ro,relatime - ext4 /dev/vda1 rw
815 801 254:1 /pods/1/volumes/kubernetes.io~configmap/c/..2026/a.toml /etc/my\\040config/a\\134b.toml ro - ext4 /dev/vda1 rw
816 801 0:50 / /etc/trailing\\04 rw - tmpfs tmpfs rw

";

    #[test]
    fn points() {
        let expected = ["/proc", "/etc/pointsman/gateway.toml", "/etc/my config/a\\b.toml", "/etc/trailing\\04"];
        assert_eq!(mount_points(TABLE.as_bytes()), expected.map(PathBuf::from));
    }

    #[test]
    fn ordinary_files_are_not_mounted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(mounted_files(&[file.path().to_owned()]), Vec::<PathBuf>::new());
    }
}
