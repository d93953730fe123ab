//! Real files, a real watcher, real time. Each way of changing a file is tried twice in a row, once
//! seen by events alone and once by the poll alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Mutex;

use notify::event::{CreateKind, DataChange, Event, Flag, MetadataKind, ModifyKind, RemoveKind, RenameMode};
use notify_debouncer_full::DebouncedEvent;

use super::*;
use crate::live::fixture::{Fixture, eventually, text};
use crate::live::lock;

const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(100);

fn by_events(fixture: &Fixture) -> Watching {
    start_with(Arc::clone(&fixture.reloader), NEVER, Watch::open).unwrap()
}

/// As where the system has no more inotify instances.
fn by_poll(fixture: &Fixture) -> Watching {
    let exhausted = |_: Sender<Wake>| Err(notify::Error::new(ErrorKind::MaxFilesWatch));
    start_with(Arc::clone(&fixture.reloader), OFTEN, exhausted).unwrap()
}

/// A way of changing a file.
struct Way {
    name: &'static str,
    /// Makes the first state in a directory; returns the path of the file.
    layout: fn(&Path) -> PathBuf,
    /// Changes the percentage in that directory.
    change: fn(&Path, u32),
}

fn plain(root: &Path) -> PathBuf {
    let path = root.join("gateway.toml");
    fs::write(&path, text(25, "")).unwrap();
    path
}

fn shell(root: &Path, script: &str) {
    let status = Command::new("sh").arg("-ec").arg(script).current_dir(root).status().unwrap();
    assert!(status.success(), "{script}");
}

/// What the kubelet makes of a ConfigMap.
fn config_map(root: &Path) -> PathBuf {
    new_config_map(root, 25);
    symlink("..data/gateway.toml", root.join("gateway.toml")).unwrap();
    root.join("gateway.toml")
}

fn new_config_map(root: &Path, percent: u32) {
    let new = format!("..2026_{percent}");
    fs::create_dir(root.join(&new)).unwrap();
    fs::write(root.join(&new).join("gateway.toml"), text(percent, "")).unwrap();
    symlink(&new, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("..2026_") && name != new {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// A link elsewhere, whose target's directory is itself behind a link that moves.
fn git_sync(root: &Path) -> PathBuf {
    fs::create_dir_all(root.join("git")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    new_checkout(root, 25);
    symlink(root.join("git/current/conf/gateway.toml"), root.join("etc/gateway.toml")).unwrap();
    root.join("etc/gateway.toml")
}

fn new_checkout(root: &Path, percent: u32) {
    let conf = format!("git/.worktrees/{percent}/conf");
    fs::create_dir_all(root.join(&conf)).unwrap();
    fs::write(root.join(&conf).join("gateway.toml"), text(percent, "")).unwrap();
    symlink(format!(".worktrees/{percent}"), root.join("git/next")).unwrap();
    fs::rename(root.join("git/next"), root.join("git/current")).unwrap();
}

fn in_etc(root: &Path) -> PathBuf {
    fs::create_dir(root.join("etc")).unwrap();
    plain(&root.join("etc"))
}

const WAYS: [Way; 9] = [
    Way {
        name: "in place",
        layout: plain,
        change: |root, percent| fs::write(root.join("gateway.toml"), text(percent, "")).unwrap(),
    },
    Way {
        name: "renamed over",
        layout: plain,
        change: |root, percent| {
            fs::write(root.join(".gateway.toml.swp"), text(percent, "")).unwrap();
            fs::rename(root.join(".gateway.toml.swp"), root.join("gateway.toml")).unwrap();
        },
    },
    Way {
        name: "sed -i",
        layout: plain,
        change: |root, percent| {
            shell(root, &format!("sed -i 's/percent = [0-9]*/percent = {percent}/' gateway.toml"));
        },
    },
    Way {
        name: "mv from another directory",
        layout: in_etc,
        change: |root, percent| {
            fs::write(root.join("new.toml"), text(percent, "")).unwrap();
            shell(root, "mv new.toml etc/gateway.toml");
        },
    },
    Way {
        name: "deleted and made again",
        layout: plain,
        change: |root, percent| {
            fs::remove_file(root.join("gateway.toml")).unwrap();
            fs::write(root.join("gateway.toml"), text(percent, "")).unwrap();
        },
    },
    Way { name: "ConfigMap", layout: config_map, change: new_config_map },
    Way {
        name: "ln -sfn ..data",
        layout: config_map,
        change: |root, percent| {
            fs::create_dir(root.join(format!("..{percent}"))).unwrap();
            fs::write(root.join(format!("..{percent}/gateway.toml")), text(percent, "")).unwrap();
            shell(root, &format!("ln -sfn ..{percent} ..data"));
        },
    },
    Way { name: "git-sync", layout: git_sync, change: new_checkout },
    Way {
        name: "the directory replaced",
        layout: in_etc,
        change: |root, percent| {
            fs::create_dir(root.join("new")).unwrap();
            fs::write(root.join("new/gateway.toml"), text(percent, "")).unwrap();
            shell(root, &format!("mv etc old{percent}; mv new etc"));
        },
    },
];

/// All ways at the same time, so that their waiting costs the time of one.
fn check(start: fn(&Fixture) -> Watching, mode: &str, trigger: &'static str) {
    std::thread::scope(|scope| {
        for Way { name, layout, change } in &WAYS {
            scope.spawn(move || {
                let fixture = Fixture::build(&[], layout);
                let _watching = start(&fixture);
                assert_eq!(fixture.status().watching, mode, "{name}");
                for percent in [30, 40] {
                    change(&fixture.root, percent);
                    eventually(name, || fixture.percent() == f64::from(percent));
                }
                assert!(fixture.count("applied", trigger) >= 2, "{name}: {:?}", fixture.status());
                assert_eq!(fixture.count("failed", trigger), 0, "{name}: {:?}", fixture.status());
            });
        }
    });
}

#[test]
fn every_way_of_changing_is_seen_by_events() {
    check(by_events, WATCHING, "watch");
}

#[test]
fn every_way_of_changing_is_seen_by_the_poll() {
    check(by_poll, POLLING, "poll");
}

#[test]
fn a_folder_of_routes_may_appear_and_vanish() {
    let fixture = Fixture::new("");
    let _watching = by_events(&fixture);
    let chat = "[routes.chat]\npath = \"/chat\"\ncontrol = \"perplexity\"\ncandidate = \"lightrag\"";
    let runs = |route| fixture.live.snapshot().route_named(route).is_some();
    fs::create_dir(fixture.root.join("routes.d")).unwrap();
    // Once after the start, once for the folder.
    eventually("the new folder is looked at", || fixture.count("unchanged", "watch") > 1);
    fixture.write("routes.d/chat.toml", chat);
    eventually("a file in the new folder", || runs("chat"));
    fs::remove_dir_all(fixture.root.join("routes.d")).unwrap();
    eventually("the folder is gone", || !runs("chat"));
}

#[test]
fn a_refused_change_is_followed_by_the_good_one() {
    for start in [by_events, by_poll] {
        let fixture = Fixture::new("");
        let _watching = start(&fixture);
        fixture.write("gateway.toml", text(250, ""));
        eventually("refused", || fixture.status().failed);
        assert_eq!(fixture.percent(), 25.0);
        fixture.write("gateway.toml", text(25, ""));
        eventually("clear again", || !fixture.status().failed);
    }
}

#[test]
fn a_thousand_writes_end_with_the_last_and_few_reloads() {
    let fixture = Fixture::new("");
    let _watching = start_with(Arc::clone(&fixture.reloader), POLL_EVERY, Watch::open).unwrap();
    for n in 0..1_000 {
        fixture.write("gateway.toml", text(n % 100, ""));
        std::thread::sleep(Duration::from_millis(1));
    }
    fixture.write("gateway.toml", text(77, "# the last"));
    eventually("the last write", || fixture.percent() == 77.0);
    eventually("no failure is left", || !fixture.status().failed);
    let generation = fixture.live.generation();
    assert!(generation <= 20, "{generation} generations of 1,000 writes");
}

#[test]
fn a_watcher_that_breaks_leaves_the_poll() {
    let fixture = Fixture::new("");
    let wakes = Mutex::new(None);
    let open = |sender: Sender<Wake>| {
        *lock(&wakes) = Some(sender.clone());
        Watch::open(sender)
    };
    let _watching = start_with(Arc::clone(&fixture.reloader), OFTEN, open).unwrap();
    assert_eq!(fixture.status().watching, WATCHING);
    eventually("the look after the start", || fixture.count("unchanged", "watch") > 0);
    let broken = Wake::Broken(notify::Error::generic("the queue is gone"));
    lock(&wakes).take().unwrap().send(broken).unwrap();
    eventually("the fall-back", || fixture.status().watching == POLLING);
    fixture.write("gateway.toml", text(40, ""));
    eventually("the change", || fixture.percent() == 40.0);
    assert_eq!((fixture.count("applied", "watch"), fixture.count("applied", "poll")), (0, 1));
}

#[test]
fn lost_events_mean_a_look_at_once() {
    let fixture = Fixture::new("");
    let (sender, wakes) = mpsc::channel();
    let reloader = Arc::clone(&fixture.reloader);
    let mut watcher = Watcher { reloader, wakes, poll_every: NEVER, mounted: Vec::new(), watch: None };
    sender.send(Wake::Rescan).unwrap();
    assert_eq!(watcher.next(), Some(Trigger::Watch));
    for wake in [Wake::Changed, Wake::Changed, Wake::Rescan] {
        sender.send(wake).unwrap();
    }
    assert_eq!(watcher.next(), Some(Trigger::Watch));
    for wake in [Wake::Changed, Wake::Stop] {
        sender.send(wake).unwrap();
    }
    assert_eq!(watcher.next(), None);
}

#[test]
fn the_thread_ends_with_its_owner() {
    let fixture = Fixture::new("");
    drop(by_events(&fixture));
    eventually("nobody else holds the reloader", || Arc::strong_count(&fixture.reloader) == 1);
}

#[test]
fn events_that_count() {
    let event = |kind| DebouncedEvent::new(Event::new(kind).add_path("/etc/x".into()), clock::now());
    let rescan = DebouncedEvent::new(Event::new(EventKind::Other).set_flag(Flag::Rescan), clock::now());
    let ours = event(EventKind::Access(AccessKind::Open(AccessMode::Any)));
    let kinds = [
        EventKind::Access(AccessKind::Close(AccessMode::Write)),
        EventKind::Create(CreateKind::File),
        EventKind::Modify(ModifyKind::Data(DataChange::Any)),
        EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)),
        EventKind::Remove(RemoveKind::Folder),
        EventKind::Other,
        EventKind::Any,
    ];
    for kind in kinds {
        assert!(matches!(wake(Ok(vec![ours.clone(), event(kind)])), Some(Wake::Changed)), "{kind:?}");
    }
    assert!(wake(Ok(vec![ours.clone()])).is_none());
    assert!(matches!(wake(Ok(vec![ours, rescan])), Some(Wake::Rescan)));
    assert!(matches!(wake(Err(vec![notify::Error::generic("full")])), Some(Wake::Broken(_))));
}
