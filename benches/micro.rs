//! The parts of the request path that are ours alone: `cargo bench`.

use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;

use pointsman::config::load_text;
use pointsman::domain::assignment::{Digest, Share};
use pointsman::domain::breaker::{Settings, State};
use pointsman::domain::condition::Fact;
use pointsman::domain::context::Contexts;
use pointsman::domain::decision::{Health, Needs, Policy, Targeting, Targets, decide};
use pointsman::domain::percent::Percent;
use pointsman::live::RouteTable;

fn main() {
    divan::main();
}

fn policy(targets: usize) -> Policy {
    let candidate: HashSet<Box<str>> = (0..targets).map(|n| format!("tester-{n}").into()).collect();
    Policy {
        enabled: true,
        forced: None,
        targets: Targets { control: HashSet::new(), candidate },
        holdout: None,
        targeting: Targeting::default(),
        rollout: Percent::new(25.0).map(Share::new).unwrap_or(Share::new(Percent::ZERO)),
        split_by: 0,
        salt: "answers".into(),
        needs: Needs::default(),
    }
}

/// One decision, with no targets and with many: they must cost the same.
#[divan::bench(args = [0, 100_000])]
fn decision(bencher: divan::Bencher<'_, '_>, targets: usize) {
    let policy = policy(targets);
    let contexts = Contexts::of_key(0, "user-107919");
    bencher.bench_local(|| decide(black_box(&policy), black_box(&contexts), &Health::WELL));
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
