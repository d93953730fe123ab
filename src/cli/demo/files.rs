//! The files of the demo: a folder with a configuration that people may edit while it runs.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The configuration, with `{places}` for the addresses.
const TEMPLATE: &str = include_str!("gateway.toml");

/// The table whose first key the tour edits.
const ROLLOUT: &str = "[routes.demo.rollout]";

/// What the configuration needs to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    /// Where clients connect.
    pub(super) listen: SocketAddr,
    /// Probes and metrics.
    pub(super) observe: SocketAddr,
    /// The administrative API.
    pub(super) admin: SocketAddr,
    /// The trusted sample backend.
    pub(super) control: SocketAddr,
    /// The new sample backend.
    pub(super) candidate: SocketAddr,
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Writes the configuration into `folder`, or into a new one among the temporary files.
    ///
    /// # Errors
    /// When it cannot be written, or `folder` holds a `gateway.toml` that is not the demo's.
    pub(super) fn create(folder: Option<&Path>, addresses: &Addresses) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => std::env::temp_dir().join(format!("pointsman-demo-{:08x}", fastrand::u32(..))),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let files = Self { folder };
        files.refuse_foreign()?;
        files.write(&fill_in(addresses))?;
        Ok(files)
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("gateway.toml")
    }

    /// A new log file, or an emptied one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn log(&self, name: &str) -> anyhow::Result<File> {
        let path = self.log_path(name);
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Where [`Files::log`] puts it.
    pub(super) fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts `line` in place of the one that says the percentage, and keeps what people changed elsewhere.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has lost its rollout.
    pub(super) fn set_rollout_line(&self, line: &str) -> anyhow::Result<()> {
        let path = self.config();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text =
            with_rollout_line(&text, line).with_context(|| format!("{} has no {ROLLOUT} any more", path.display()))?;
        self.write(&text)
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        let path = self.config();
        // Renamed into place, as editors do it: nobody reads half a file.
        let fresh = self.folder.join(".gateway.toml.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn refuse_foreign(&self) -> anyhow::Result<()> {
        let path = self.config();
        match fs::read_to_string(&path) {
            Ok(text) if text.lines().next() == TEMPLATE.lines().next() => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Ok(_) => anyhow::bail!("{} is not the demo's, and stays as it is: choose another --dir", path.display()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

fn fill_in(addresses: &Addresses) -> String {
    TEMPLATE
        .replace("{listen}", &addresses.listen.to_string())
        .replace("{observe}", &addresses.observe.to_string())
        .replace("{admin}", &addresses.admin.to_string())
        .replace("{control}", &format!("http://{}", addresses.control))
        .replace("{candidate}", &format!("http://{}", addresses.candidate))
}

fn with_rollout_line(text: &str, line: &str) -> Option<String> {
    let header = text.lines().position(|line| line.trim() == ROLLOUT)?;
    let mut lines: Vec<&str> = text.lines().collect();
    *lines.get_mut(header + 1)? = line;
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::collections::BTreeMap;

    fn text() -> String {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        fill_in(&Addresses {
            listen: address(8080),
            observe: address(9902),
            admin: address(9901),
            control: address(1),
            candidate: address(2),
        })
    }

    #[test]
    fn the_demo_runs_with_what_a_reader_of_its_file_expects() {
        let loaded = config::load_text(&text(), "gateway.toml", &BTreeMap::new()).unwrap();
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.config.listen.address.port(), 8080);
        assert_eq!(loaded.config.routes[0].policy.rollout.percent().get(), 25.0);
    }

    #[test]
    fn only_the_percentage_changes() {
        let edited = with_rollout_line(&text(), "percent = 50.0").unwrap();
        assert_eq!(edited, text().replace("percent = 25.0", "percent = 50.0"));
        assert_eq!(with_rollout_line("", "percent = 50.0"), None);
        assert_eq!(with_rollout_line(ROLLOUT, "percent = 50.0"), None);
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 1));
        let addresses = Addresses { listen: any, observe: any, admin: any, control: any, candidate: any };
        Files::create(Some(folder.path()), &addresses).unwrap();
        Files::create(Some(folder.path()), &addresses).unwrap();
        let path = folder.path().join("gateway.toml");
        fs::write(&path, "# mine").unwrap();
        assert!(Files::create(Some(folder.path()), &addresses).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
    }
}
