//! The files of the demo: a folder with a configuration that people may edit while it runs.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::tour;

/// The configuration, with `{places}` for the addresses.
const TEMPLATE: &str = include_str!("gateway.toml");

/// Lengths of time in it that go with the tour, in seconds: `{10s}`.
const LENGTHS: [u64; 3] = [4, 6, 10];

/// Tables whose first line the tour edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edited {
    /// The share of the route that is toured first.
    Demo,
    /// The plan of the route `better`.
    Better,
}

impl Edited {
    /// The line with which it begins.
    const fn header(self) -> &'static str {
        match self {
            Self::Demo => "[routes.demo.rollout]",
            Self::Better => "[routes.better.rollout]",
        }
    }
}

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
    pub(super) legacy: SocketAddr,
    /// The new sample backend.
    pub(super) llm: SocketAddr,
    /// The better one.
    pub(super) reranker: SocketAddr,
    /// The one whose quality falls.
    pub(super) distilled: SocketAddr,
    /// Who compares answers.
    pub(super) judge: SocketAddr,
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Writes the configuration into `folder`, or into a new one among the temporary files. The stages in it are so
    /// many times as fast as it is written.
    ///
    /// # Errors
    /// When it cannot be written, or `folder` holds a `gateway.toml` that is not the demo's.
    pub(super) fn create(folder: Option<&Path>, addresses: &Addresses, speed: f64) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => std::env::temp_dir().join(format!("pointsman-demo-{:08x}", fastrand::u32(..))),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let files = Self { folder };
        files.refuse_foreign()?;
        files.write(&fill_in(addresses, speed))?;
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

    /// Puts `line` in place of the first one of a table, and keeps what people changed elsewhere.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has lost the table.
    pub(super) fn set_first_line(&self, table: Edited, line: &str) -> anyhow::Result<()> {
        let path = self.config();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = with_first_line(&text, table, line)
            .with_context(|| format!("{} has no {} any more", path.display(), table.header()))?;
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

fn fill_in(addresses: &Addresses, speed: f64) -> String {
    let text = TEMPLATE
        .replace("{listen}", &addresses.listen.to_string())
        .replace("{observe}", &addresses.observe.to_string())
        .replace("{admin}", &addresses.admin.to_string());
    let urls = [
        ("{legacy}", addresses.legacy),
        ("{llm}", addresses.llm),
        ("{reranker}", addresses.reranker),
        ("{distilled}", addresses.distilled),
        ("{judge}", addresses.judge),
    ];
    let text = urls.into_iter().fold(text, |text, (place, address)| text.replace(place, &format!("http://{address}")));
    let lengths = LENGTHS.into_iter();
    lengths.fold(text, |text, seconds| text.replace(&format!("{{{seconds}s}}"), &length(seconds, speed)))
}

/// A length of time at a speed, as the file has it.
fn length(seconds: u64, speed: f64) -> String {
    match tour::time(seconds, speed).as_millis() {
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

fn with_first_line(text: &str, table: Edited, line: &str) -> Option<String> {
    let header = text.lines().position(|line| line.trim() == table.header())?;
    let mut lines: Vec<&str> = text.lines().collect();
    *lines.get_mut(header + 1)? = line;
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::collections::BTreeMap;

    fn text(speed: f64) -> String {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            listen: address(8080),
            observe: address(9902),
            admin: address(9901),
            legacy: address(1),
            llm: address(2),
            reranker: address(3),
            distilled: address(4),
            judge: address(5),
        };
        fill_in(&addresses, speed)
    }

    fn load(text: &str) -> config::Loaded {
        config::load_text(text, "gateway.toml", &BTreeMap::new()).unwrap()
    }

    fn holds(config: &config::Config) -> Vec<u128> {
        let route = config.routes.iter().find(|route| &*route.name == "better").unwrap();
        route.rollout.plan.stages().unwrap().stages.iter().map(|stage| stage.hold.as_millis()).collect()
    }

    #[test]
    fn the_demo_runs_with_what_a_reader_of_its_file_expects() {
        let loaded = load(&text(1.0));
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.config.listen.address.port(), 8080);
        let names: Vec<&str> = loaded.config.routes.iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["better", "demo", "worse"]);
        assert_eq!(loaded.config.routes[1].policy.rollout.percent().get(), 25.0);
        assert_eq!(holds(&loaded.config), [10_000, 6_000, 6_000, 4_000]);
        assert_eq!(holds(&load(&text(8.0)).config), [1_250, 750, 750, 500], "stages go with the tour");
    }

    #[test]
    fn only_one_line_changes() {
        let edited = with_first_line(&text(1.0), Edited::Demo, "percent = 50.0").unwrap();
        assert_eq!(edited, text(1.0).replace("percent = 25.0", "percent = 50.0"));
        assert_eq!(with_first_line("", Edited::Demo, "percent = 50.0"), None);
        assert_eq!(with_first_line(Edited::Demo.header(), Edited::Demo, "percent = 50.0"), None);
        let begun = with_first_line(&text(1.0), Edited::Better, "run = \"1\"").unwrap();
        let run = |text: &str| load(text).config.routes[0].rollout.plan.stages().unwrap().run.clone();
        assert_eq!((run(&text(1.0)), run(&begun).as_deref()), (None, Some("1")));
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 1));
        let addresses = Addresses {
            listen: any,
            observe: any,
            admin: any,
            legacy: any,
            llm: any,
            reranker: any,
            distilled: any,
            judge: any,
        };
        Files::create(Some(folder.path()), &addresses, 1.0).unwrap();
        Files::create(Some(folder.path()), &addresses, 1.0).unwrap();
        let path = folder.path().join("gateway.toml");
        fs::write(&path, "# mine").unwrap();
        assert!(Files::create(Some(folder.path()), &addresses, 1.0).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
    }
}
