use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::domain::{Arm, breaker, quality};
use crate::live::fixture::{Fixture, applied, refused, text};

/// A fixture whose reloader does not wait for writers.
fn hurried(more: &str) -> Fixture {
    with_pause(Fixture::new(more), || {})
}

/// What happens while the reloader waits for a writer is `pause`.
fn with_pause(mut fixture: Fixture, pause: impl Fn() + Send + Sync + 'static) -> Fixture {
    Arc::get_mut(&mut fixture.reloader).unwrap().pause = Box::new(pause);
    fixture
}

const ALL: [Trigger; 4] = [Trigger::Watch, Trigger::Poll, Trigger::Signal, Trigger::Api];

#[test]
fn nothing_new_is_silent_but_counted() {
    let fixture = hurried("");
    for trigger in ALL {
        assert_eq!(fixture.reloader.reload(trigger), ReloadOutcome::Unchanged);
        assert_eq!(fixture.count("unchanged", trigger.name()), 1);
    }
    assert_eq!(fixture.live.generation(), 1);
    assert!(!fixture.status().failed);
}

#[test]
fn every_trigger_applies() {
    let fixture = hurried("");
    for (percent, trigger) in (30..).zip(ALL) {
        let before = fixture.live.generation();
        fixture.write("gateway.toml", text(percent, ""));
        assert_eq!(applied(&fixture.reloader.reload(trigger)), before + 1);
        assert_eq!(fixture.percent(), f64::from(percent));
        assert_eq!(fixture.live.snapshot().generation, before + 1);
        assert_eq!(fixture.count("applied", trigger.name()), 1);
        assert_eq!(fixture.reloader.reload(trigger), ReloadOutcome::Unchanged);
    }
}

#[test]
fn a_failure_is_told_and_the_old_configuration_goes_on() {
    let fixture = hurried("");
    fixture.write("gateway.toml", text(250, ""));
    let report = refused(&fixture.reloader.reload(Trigger::Watch));
    assert!(report.contains("gateway.toml:14:23") && report.contains("^^^"), "{report}");
    let status = fixture.status();
    assert!(status.failed);
    assert_eq!(status.error, Some(report.clone()));
    assert_eq!((fixture.percent(), fixture.live.generation()), (25.0, 1));
    for trigger in [Trigger::Watch, Trigger::Poll] {
        assert_eq!(fixture.reloader.reload(trigger), ReloadOutcome::Unchanged);
    }
    for trigger in [Trigger::Signal, Trigger::Api] {
        assert_eq!(refused(&fixture.reloader.reload(trigger)), report);
    }
    assert!(fixture.status().failed);
}

/// Puts something in the place of the file that cannot be used.
type Break = fn(&Path);

#[test]
fn what_breaks_is_refused_and_the_same_text_again_clears_it() {
    let rows: [(&str, Break); 7] = [
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("only a comment", |path| std::fs::write(path, "# soon\n").unwrap()),
        ("half", |path| std::fs::write(path, &text(25, "")[..120]).unwrap()),
        ("not UTF-8", |path| std::fs::write(path, b"\xff\xfe").unwrap()),
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
        ("a directory", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("unreadable", |path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap()),
    ];
    for (name, spoil) in rows {
        let fixture = hurried("");
        let path = fixture.root.join("gateway.toml");
        spoil(&path);
        if name == "unreadable" && std::fs::read(&path).is_ok() {
            eprintln!("SKIPPED: {name}: this user can read everything");
            continue;
        }
        refused(&fixture.reloader.reload(Trigger::Watch));
        assert!(fixture.status().failed, "{name}");
        assert_eq!(fixture.percent(), 25.0, "{name}");
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        } else if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        fixture.write("gateway.toml", text(25, ""));
        applied(&fixture.reloader.reload(Trigger::Watch));
        let status = fixture.status();
        assert!(!status.failed && status.error.is_none(), "{name}");
    }
}

#[test]
fn a_writer_is_given_time_to_finish() {
    for (name, half) in [("empty", String::new()), ("half", text(40, "")[..200].to_owned())] {
        for trigger in ALL {
            let fixture = Fixture::new("");
            let path = fixture.root.join("gateway.toml");
            fixture.write("gateway.toml", &half);
            let fixture = with_pause(fixture, move || std::fs::write(&path, text(40, "")).unwrap());
            applied(&fixture.reloader.reload(trigger));
            assert_eq!((fixture.percent(), fixture.count("failed", trigger.name())), (40.0, 0), "{name}");
        }
    }
}

#[test]
fn the_poll_does_not_take_what_is_being_written_for_whole() {
    let fixture = Fixture::new("");
    let path = fixture.root.join("gateway.toml");
    fixture.write("gateway.toml", text(30, ""));
    let fixture = with_pause(fixture, move || std::fs::write(&path, text(40, "")).unwrap());
    assert_eq!(applied(&fixture.reloader.reload(Trigger::Poll)), 2);
    assert_eq!((fixture.percent(), fixture.live.generation()), (40.0, 2));
}

#[test]
fn a_change_behind_a_long_head_of_the_same_length_is_seen() {
    let head = format!("# {}\n", "x".repeat(600));
    let fixture = hurried("");
    fixture.write("gateway.toml", format!("{head}{}", text(25, "")));
    applied(&fixture.reloader.reload(Trigger::Watch));
    fixture.write("gateway.toml", format!("{head}{}", text(52, "")));
    applied(&fixture.reloader.reload(Trigger::Watch));
    assert_eq!(fixture.percent(), 52.0);
}

#[test]
fn keys_that_wait_for_a_restart_are_measured_against_the_start() {
    let fixture = hurried("");
    let rows: [(&str, &[&str]); 4] = [
        ("[listen]\naddress = \"127.0.0.1:1\"", &["listen.address"]),
        (
            "[listen]\naddress = \"127.0.0.1:1\"\n[admin]\naddress = \"127.0.0.1:2\"",
            &["admin.address", "listen.address"],
        ),
        ("[listen]\naddress = \"127.0.0.1:1\"\n[log]\naccess_sample = 0.5", &["listen.address"]),
        ("[log]\naccess_sample = 0.7", &[]),
    ];
    for (more, expected) in rows {
        fixture.write("gateway.toml", text(25, more));
        applied(&fixture.reloader.reload(Trigger::Api));
        let mut waiting = fixture.status().restart_required;
        waiting.sort();
        assert_eq!(waiting, expected, "{more}");
    }
}

#[test]
fn the_log_level_takes_effect_unless_the_environment_has_one() {
    let level = |level: &str| text(25, &format!("[log]\nlevel = \"{level}\""));
    let layout = |root: &Path| {
        std::fs::write(root.join("gateway.toml"), level("info")).unwrap();
        root.join("gateway.toml")
    };
    for (variable, expected) in [(None, &["debug", "warn"][..]), (Some((LEVEL_VARIABLE, "info")), &[])] {
        let fixture = with_pause(Fixture::build(variable.as_slice(), layout), || {});
        for text in [level("debug"), level("debug") + "# no other level", level("warn")] {
            fixture.write("gateway.toml", text);
            applied(&fixture.reloader.reload(Trigger::Signal));
        }
        assert_eq!(*lock(&fixture.levels), expected);
    }
}

const FRAGMENT: &str = "[routes.chat]\npath = \"/chat\"\ncontrol = \"perplexity\"\ncandidate = \"lightrag\"\n";

#[test]
fn a_broken_file_of_routes_costs_only_its_own_changes() {
    let fixture = hurried("");
    std::fs::create_dir(fixture.root.join("routes.d")).unwrap();
    fixture.write("routes.d/chat.toml", format!("{FRAGMENT}rollout = {{ percent = 5 }}"));
    applied(&fixture.reloader.reload(Trigger::Watch));
    assert_eq!(fixture.route_percent("chat"), 5.0);

    fixture.write("routes.d/chat.toml", format!("{FRAGMENT}rollout = {{ percent = 500 }}"));
    fixture.write("gateway.toml", text(60, ""));
    let outcome = fixture.reloader.reload(Trigger::Watch);
    assert_eq!(applied(&outcome), 3);
    assert_eq!((fixture.percent(), fixture.route_percent("chat")), (60.0, 5.0));
    let status = fixture.status();
    assert!(status.failed && status.error.is_some_and(|error| error.contains("chat.toml:5")));
    assert_eq!(fixture.reloader.reload(Trigger::Watch), ReloadOutcome::Unchanged);
    assert_eq!(fixture.reloader.reload(Trigger::Api), outcome);
    assert!(fixture.status().failed);

    fixture.write("routes.d/chat.toml", format!("{FRAGMENT}rollout = {{ percent = 50 }}"));
    applied(&fixture.reloader.reload(Trigger::Watch));
    assert_eq!(fixture.route_percent("chat"), 50.0);
    assert!(!fixture.status().failed);
}

#[test]
fn a_file_of_routes_that_is_broken_from_the_start_is_told() {
    let fixture = with_pause(
        Fixture::build(&[], |root| {
            std::fs::create_dir(root.join("routes.d")).unwrap();
            std::fs::write(root.join("routes.d/chat.toml"), "[routes.chat]\npath = 1").unwrap();
            std::fs::write(root.join("gateway.toml"), text(25, "")).unwrap();
            root.join("gateway.toml")
        }),
        || {},
    );
    assert!(fixture.status().failed);
    for _ in 0..3 {
        assert_eq!(fixture.reloader.reload(Trigger::Poll), ReloadOutcome::Unchanged);
    }
    assert_eq!(applied(&fixture.reloader.reload(Trigger::Api)), 1);
    assert!(fixture.status().failed);
}

#[test]
fn secret_files_count() {
    let more = "[admin.tokens.deploy]\nrole = \"operator\"\ntoken = { file = \"token\" }";
    let fixture = with_pause(
        Fixture::build(&[], |root| {
            std::fs::write(root.join("token"), "a-long-enough-secret").unwrap();
            std::fs::write(root.join("gateway.toml"), text(25, more)).unwrap();
            root.join("gateway.toml")
        }),
        || {},
    );
    assert_eq!(fixture.reloader.reload(Trigger::Api), ReloadOutcome::Unchanged);
    fixture.write("token", "another-long-enough-secret");
    assert_eq!(applied(&fixture.reloader.reload(Trigger::Api)), 2);
}

#[test]
fn a_backend_that_cannot_be_built_changes_nothing() {
    let more = "[backends.secure]\nurl = \"https://127.0.0.1:1\"\ntls = { ca = \"ca.pem\" }\n\
                [routes.secure]\npath = \"/secure\"\ncontrol = \"secure\"\ncandidate = \"lightrag\"";
    let fixture = hurried("");
    fixture.write("ca.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    fixture.write("gateway.toml", text(40, more));
    let report = refused(&fixture.reloader.reload(Trigger::Watch));
    assert!(report.contains("ca"), "{report}");
    assert_eq!((fixture.percent(), fixture.live.generation()), (25.0, 1));
    assert!(fixture.status().failed);
}

#[test]
fn of_racing_reloads_one_applies() {
    let fixture = hurried("");
    fixture.write("gateway.toml", text(40, ""));
    let outcomes: Vec<ReloadOutcome> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let reloader = &fixture.reloader;
                    move || reloader.reload(ALL[n % ALL.len()])
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ReloadOutcome::Unchanged).count(), 7);
    assert_eq!(fixture.live.generation(), 2);
}

#[test]
fn racing_writers_end_with_what_the_file_says() {
    let fixture = hurried("");
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            let fixture = &fixture;
            scope.spawn(move || {
                for turn in 0..10 {
                    fixture.write(&format!("new{writer}"), text(writer * 10 + turn, ""));
                    let path = fixture.root.join("gateway.toml");
                    std::fs::rename(fixture.root.join(format!("new{writer}")), path).unwrap();
                    fixture.reloader.reload(Trigger::Api);
                }
            });
        }
    });
    fixture.reloader.reload(Trigger::Poll);
    let on_disk = std::fs::read_to_string(fixture.root.join("gateway.toml")).unwrap();
    assert!(on_disk.contains(&format!("percent = {} }}", fixture.percent())), "{on_disk}");
    assert_eq!(fixture.live.generation(), 1 + fixture.count("applied", "api") + fixture.count("applied", "poll"));
}

#[test]
fn what_belongs_to_names_survives() {
    let fixture = hurried("");
    let before = fixture.live.snapshot();
    let candidate = before.config().routes[0].backend(Arm::Candidate).unwrap();
    let (state, settings) = (&before.backends[candidate].state, &before.config().backends[candidate].breaker);
    for _ in 0..3 {
        state.record(None, breaker::Outcome::Failure, 1_000, settings);
    }
    assert_eq!(state.position(1_000), breaker::Position::Open);
    assert!(state.enter(Some(8)));
    state.throttle(90_000);
    let today = crate::clock::utc_day();
    state.spend(today, 3.0);
    before.routes[0].set_gate(quality::Position::Shut);

    // Another backend comes first by name, and the settings of the breaker change.
    let more = "[backends.another]\nrespond = {}\n[routes.another]\npath = \"/a\"\ncontrol = \"another\"\ncandidate = \"lightrag\"";
    fixture.write("gateway.toml", text(90, more).replace("open_for = \"60s\"", "open_for = \"90s\""));
    applied(&fixture.reloader.reload(Trigger::Signal));

    let after = fixture.live.snapshot();
    let route = after.route_named("answers").unwrap();
    let backend = &after.backends[after.config().routes[route].backend(Arm::Candidate).unwrap()];
    assert!(Arc::ptr_eq(&backend.state, state));
    assert!(Arc::ptr_eq(&after.routes[route], &before.routes[0]));
    assert_eq!(backend.state.position(1_001), breaker::Position::Open);
    assert_eq!(backend.state.in_flight(), 1);
    let health = after.health(route, 1_001);
    assert!(health.breaker == breaker::View::Refuse, "{health:?}");
    assert!(health.rate_limited && !health.spent);
    assert!(backend.state.spent(today) == 3.0 || today != crate::clock::utc_day());
    assert_eq!(after.routes[route].gate(), quality::Position::Shut);
}
