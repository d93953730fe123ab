//! A changed file takes effect while requests run, and a broken one does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Setup, Upstream, eventually};

const RELOADS: usize = 500;

fn setup(upstream: &Upstream, control: &str, keys: &str) -> Setup {
    Setup::new(format!(
        "[backends.up]\nurl = {:?}\n[backends.one]\nrespond = {{ body = \"one\" }}\n\
         [backends.two]\nrespond = {{ body = \"two\" }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"up\"\ncandidate = \"up\"\n{keys}\n\
         [routes.fixed]\npath = \"/fixed\"\ncontrol = {control:?}\ncandidate = {control:?}\n",
        upstream.url()
    ))
}

#[test]
fn a_changed_file_takes_effect_and_a_broken_one_does_not() {
    let upstream = Upstream::saying("ok");
    let gateway = setup(&upstream, "one", "").start();
    gateway.get("/fixed", &[]).expect(200, "one");
    gateway.rewrite(&setup(&upstream, "two", ""));
    eventually("the change", || (gateway.get("/fixed", &[]).text() == "two").then_some(()));
    gateway.rewrite(&setup(&upstream, "three", ""));
    eventually("the mistake is told", || gateway.stderr().contains("three").then_some(()));
    gateway.get("/fixed", &[]).expect(200, "two");
    gateway.rewrite(&setup(&upstream, "one", ""));
    eventually("the repair", || (gateway.get("/fixed", &[]).text() == "one").then_some(()));
}

#[test]
fn five_hundred_reloads_under_load_fail_no_request() {
    let upstream = Upstream::echo();
    let gateway = setup(&upstream, "one", "rollout.percent = 0").threads(2).access_sample(0.0).start();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (gateway, stop, served) = (&gateway, &stop, &served);
            scope.spawn(move || {
                let mut client = gateway.client();
                while !stop.load(Ordering::SeqCst) {
                    let count = served.fetch_add(1, Ordering::SeqCst);
                    if count.is_multiple_of(20) {
                        client = gateway.client();
                    }
                    let body = format!("{worker}-{count}");
                    client.request("POST", "/", &[("x-user-id", &body)], body.as_bytes()).expect(200, &body);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let mut watcher = gateway.client();
        for round in 1..=RELOADS {
            let name = if round % 2 == 0 { "one" } else { "two" };
            let keys = format!("rollout.percent = {}", round % 100);
            gateway.rewrite(&setup(&upstream, name, &keys).threads(2).access_sample(0.0));
            gateway.signal("HUP");
            eventually("the reload", || (watcher.get("/fixed", &[]).text() == name).then_some(()));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(served.load(Ordering::SeqCst) > RELOADS, "too little load to prove anything");
    assert!(gateway.access_lines().is_empty(), "{:?}", gateway.access_lines());
}
