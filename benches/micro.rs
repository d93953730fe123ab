//! The parts of the request path that are ours alone: `cargo bench`.

use std::collections::BTreeMap;
use std::hint::black_box;

use pointsman::config::{Sources, load, load_text};
use pointsman::domain::Arm;
use pointsman::domain::assignment::{Digest, Share};
use pointsman::domain::breaker::{Settings, State};
use pointsman::domain::condition::Fact;
use pointsman::domain::context::Contexts;
use pointsman::domain::decision::{Health, Needs, Policy, Targeting, decide};
use pointsman::domain::percent::Percent;
use pointsman::domain::targets::{TargetKey, Targets};
use pointsman::live::RouteTable;

fn main() {
    divan::main();
}

/// Lists as many keys of the candidate.
fn listed(count: usize, key: impl Fn(usize) -> TargetKey) -> Targets {
    Targets::list((0..count).map(|n| (Arm::Candidate, key(n)))).0
}

/// A key that was hashed; which, is all the same here.
fn hashed(n: usize) -> TargetKey {
    let digest = Digest::of(n.to_string().as_bytes(), b"tester").beginning();
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&digest);
    TargetKey::Hashed(hash)
}

fn plain(n: usize) -> TargetKey {
    TargetKey::Plain(format!("tester-{n}").into())
}

fn policy(targets: Targets) -> Policy {
    Policy {
        enabled: true,
        forced: None,
        targets: targets.into(),
        holdout: None,
        exclusive: None,
        prerequisites: Box::default(),
        targeting: Targeting::default(),
        rollout: Percent::new(25.0).map(Share::new).unwrap_or(Share::new(Percent::ZERO)),
        split_by: 0,
        salt: "answers".into(),
        needs: Needs::default(),
        stop: None,
        started: true,
        mark: Box::default(),
    }
}

/// One decision, with no targets and with many: they must cost the same.
#[divan::bench(args = [0, 100_000])]
fn decision(bencher: divan::Bencher<'_, '_>, targets: usize) {
    let policy = policy(listed(targets, plain));
    let contexts = Contexts::of_key(0, "user-107919");
    bencher.bench_local(|| decide(black_box(&policy), black_box(&contexts), &Health::WELL));
}

/// The same where the list holds hashes, so that the key is hashed once more.
#[divan::bench(args = [1, 100_000])]
fn decision_with_hashed_targets(bencher: divan::Bencher<'_, '_>, targets: usize) {
    let policy = policy(listed(targets, hashed));
    let contexts = Contexts::of_key(0, "user-107919");
    bencher.bench_local(|| decide(black_box(&policy), black_box(&contexts), &Health::WELL));
}

/// Loading a file whose route has 100,000 targets in a file beside it.
#[divan::bench(args = ["plain", "hashed"], sample_count = 5, sample_size = 1)]
fn load_100_000_targets(bencher: divan::Bencher<'_, '_>, kind: &str) {
    let folder = std::env::temp_dir().join(format!("pointsman-bench-{}-{kind}", std::process::id()));
    let hex = |n: usize| format!("{:064x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let line =
        |n: usize| if kind == "plain" { format!("tester-{n}@example.com") } else { format!("sha256:{}", hex(n)) };
    let keys: String = (0..100_000).map(|n| line(n) + "\n").collect();
    let file = "[backends.a]\nurl = \"http://127.0.0.1:1\"\n[routes.r]\ncontrol = \"a\"\ncandidate = \"a\"\n\
                targets = { candidate_file = \"targets.txt\" }\n";
    let sources = Sources { path: folder.join("gateway.toml"), ..Sources::default() };
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&sources.path, file))
        .and_then(|()| std::fs::write(folder.join("targets.txt"), keys));
    if written.is_ok() {
        bencher.bench_local(|| load(&sources, None).is_ok_and(|loaded| loaded.config.routes.len() == 1));
    }
    // What is left behind in the folder for temporary files harms nobody.
    let _ = std::fs::remove_dir_all(&folder);
}

/// A decision with 20 rules that refer to 5 segments, none of which holds, in three contexts.
#[divan::bench]
fn decision_with_rules(bencher: divan::Bencher<'_, '_>) {
    let mut text = String::from(
        "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\ntier = { header = \"a\" }\nage = { header = \"b\", type = \"number\" }\n\
         [contexts.session]\nregion = { header = \"c\" }\n[contexts.organization]\nindustry = { header = \"d\" }\n\
         [backends.a]\nurl = \"http://127.0.0.1:1\"\n[segments]\n",
    );
    for n in 0..5 {
        text += &format!(
            "s{n} = {{ any = [{{ user.tier = \"t{n}\" }}, {{ organization.industry = [\"i{n}\", \"j{n}\"] }}] }}\n"
        );
    }
    text += "[routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\nrollout = { percent = 25 }\n";
    for n in 0..20 {
        text += &format!(
            "[[routes.r.rules]]\nname = \"r{n}\"\nif = {{ segment = \"s{}\", user.age = {{ gt = {n} }}, session.region.prefix = \"us_\" }}\npercent = 5\n",
            n % 5
        );
    }
    let Ok(loaded) = load_text(&text, "bench", &BTreeMap::new()) else { return };
    let values =
        [("user.tier", "premium"), ("user.age", "44"), ("session.region", "us_east"), ("organization.industry", "x")];
    let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let attributes = loaded.config.attributes.iter();
    let facts: Vec<Option<Fact<'_>>> =
        attributes.map(|known| value(&known.name).and_then(|text| Fact::read(known.kind, text.into()))).collect();
    let policy = &*loaded.config.routes[0].policy;
    let contexts = Contexts { facts: &facts, ..Contexts::of_key(policy.split_by, "user-107919") };
    bencher.bench_local(|| decide(black_box(policy), black_box(&contexts), &Health::WELL));
}

#[divan::bench]
fn digest() -> Digest {
    Digest::of(black_box(b"user-107919"), black_box(b"answers"))
}

#[divan::bench]
fn breaker_view(bencher: divan::Bencher<'_, '_>) {
    let settings = Settings::default();
    bencher.bench_local(|| State::unpack(black_box(0)).view(black_box(1_000), &settings));
}

/// Which of N routes takes a request.
#[divan::bench(args = [1, 10, 1_000])]
fn route(bencher: divan::Bencher<'_, '_>, routes: usize) {
    let mut text = String::from("[backends.a]\nurl = \"http://127.0.0.1:1\"\n");
    for n in 0..routes {
        text += &format!(
            "[routes.r{n}]\npath = \"/service-{n}/api\"\ncontrol = \"a\"\ncandidate = \"a\"\nfallback = {{ replay = \"connect\" }}\n"
        );
    }
    let Ok(loaded) = load_text(&text, "bench", &BTreeMap::new()) else { return };
    let table = RouteTable::new(&loaded.config);
    bencher.bench_local(|| {
        table.find(black_box("gateway.local"), black_box("/service-0/api/v1/items"), &http::Method::GET)
    });
}
