use super::codec::Kept;
use super::*;
use crate::domain::assignment::Digest;
use proptest::prelude::*;

fn key(phase: u32, stratum: Stratum, metric: u16) -> CellKey {
    CellKey { phase: Phase(phase), stratum, arm: Arm::Candidate, metric: Measured::Own(MetricId(metric)) }
}

fn drawn(user: u64, arm: Arm) -> Drawn {
    Drawn { percent: 10.0, at: 1_000, user: Some(user), arm, measured: true }
}

fn of(values: &[(u16, f64)]) -> Cell {
    let mut evidence = RouteEvidence::default();
    let key = key(1, Stratum::Rollout, 0);
    for (bucket, value) in values {
        evidence.observe(key, Observation { bucket: Some(*bucket), value: *value, day: 0 }, true);
    }
    evidence.cell(key).cloned().unwrap_or_default()
}

#[test]
fn the_variance_of_a_ratio_is_that_of_the_delta_method() {
    // S and D by cluster; the known answer stands with its derivation in Deng, Knoblich, Lu (2018).
    let clusters = [(1.0, 10), (0.0, 4), (2.0, 20), (0.0, 5), (3.0, 11)];
    let mut values = Vec::new();
    for (bucket, (sum, count)) in (0..).zip(clusters) {
        values.extend((0..count).map(|n| (bucket, if f64::from(n) < sum { 1.0 } else { 0.0 })));
    }
    let (ratio, variance) = of(&values).moments().ratio().unwrap();
    assert!((ratio - 0.12).abs() < 1e-12 && (variance - 0.001_806_4).abs() < 1e-12, "{ratio} {variance}");
    assert_eq!(of(&[(1, 1.0)]).moments().ratio(), None, "one cluster has no spread");
}

#[test]
fn what_was_not_drawn_and_who_has_no_key_is_counted_apart() {
    let mut evidence = RouteEvidence::default();
    for (stratum, bucket) in [(Stratum::Fixed, Some(3)), (Stratum::Rollout, None), (Stratum::Rule(1), Some(3))] {
        evidence.observe(key(1, stratum, 0), Observation { bucket, value: 2.0, day: 0 }, false);
    }
    let buckets: Vec<usize> = evidence.cells().map(|(_, cell)| cell.buckets().len()).collect();
    assert_eq!(buckets, [0, 0, STATISTICAL_BUCKETS]);
    assert!(evidence.cells().all(|(_, cell)| cell.total().sum == 2.0));
}

#[test]
fn memory_stays_within_the_budget_and_what_finds_no_room_is_counted() {
    let mut evidence = RouteEvidence::default();
    for phase in 0..60 {
        for metric in 0..10 {
            let key = key(phase, Stratum::Rollout, metric);
            for bucket in 0..64 {
                evidence.observe(key, Observation { bucket: Some(bucket), value: 1000.0, day: 0 }, metric < 2);
            }
        }
        assert!(evidence.bytes() <= BUDGET + (64 << 10), "{phase}: {}", evidence.bytes());
    }
    let recent = evidence.cell(key(59, Stratum::Rollout, 0));
    assert!(recent.is_some() || evidence.dropped > 0);
}

#[test]
fn a_million_users_take_no_more_room_than_the_sample() {
    let mut evidence = RouteEvidence::default();
    for user in 0..1_000_000_u32 {
        let digest = Digest::of(&user.to_be_bytes(), b"salt");
        let arm = if user % 10 == 0 { Arm::Candidate } else { Arm::Control };
        evidence.draw(Phase(1), Stratum::Rollout, drawn(digest.user_sample(), arm));
    }
    let (_, Draw { users, .. }) = evidence.draws().next().unwrap();
    let found = users.users();
    let share = found.only[1] / (found.only[0] + found.only[1]);
    // Of 65,536 / 2 users at least: six standard errors.
    assert!((share - 0.1).abs() < 6.0 * (0.09_f64 / 32_768.0).sqrt(), "{share}");
    let all = found.only[0] + found.only[1] + found.both;
    assert!((all / 1e6 - 1.0).abs() < 6.0 / 32_768.0_f64.sqrt(), "{all}");
    assert!(!users.is_exact() && evidence.bytes() < 4 << 20, "{}", evidence.bytes());
}

#[test]
fn users_seen_in_both_arms_are_told_and_each_counts_once() {
    let mut sample = UserSample::default();
    for (user, arm) in
        [(1, Arm::Control), (1, Arm::Control), (2, Arm::Candidate), (3, Arm::Control), (3, Arm::Candidate)]
    {
        sample.add(user, arm, false);
    }
    let users = sample.users();
    assert_eq!((users.only, users.both, sample.is_exact()), ([1.0, 1.0], 1.0, true));
}

#[test]
fn only_what_changed_is_taken() {
    let mut evidence = RouteEvidence::default();
    let (one, other) = (key(1, Stratum::Rollout, 0), key(1, Stratum::Rollout, 1));
    let seen = Observation { bucket: Some(1), value: 1.0, day: 0 };
    evidence.observe(one, seen, false);
    evidence.draw(Phase(1), Stratum::Rollout, drawn(7, Arm::Control));
    assert_eq!(evidence.take_changed().len(), 1);
    assert_eq!(evidence.take_changed_draws().len(), 1);
    evidence.observe(other, seen, false);
    evidence.draw(Phase(1), Stratum::Rollout, drawn(7, Arm::Control));
    assert_eq!(evidence.take_changed().iter().map(|(key, _)| *key).collect::<Vec<_>>(), [other]);
    assert_eq!(evidence.take_changed_draws().len(), 0);
}

#[test]
fn who_was_assigned_and_never_measured_is_told_apart() {
    let mut evidence = RouteEvidence::default();
    let stratum = Stratum::Rule(2);
    for (user, arm, measured) in
        [(1, Arm::Control, true), (2, Arm::Candidate, false), (3, Arm::Candidate, false), (3, Arm::Candidate, true)]
    {
        evidence.draw(Phase(1), stratum, Drawn { measured, ..drawn(user, arm) });
    }
    let (key, draw) = evidence.draws().next().unwrap();
    assert_eq!((key, draw.percent, draw.mixed), ((Phase(1), stratum), 10.0, false));
    let sampled = draw.users.sampled();
    assert_eq!((sampled.assigned, sampled.measured, sampled.both), ([1.0, 2.0], [1.0, 1.0], 0.0));
    let other = Draw::new(Drawn { percent: 20.0, at: 5, ..drawn(9, Arm::Control) });
    evidence.merge_draw(Phase(1), stratum, &other);
    let (_, draw) = evidence.draws().next().unwrap();
    assert_eq!((draw.mixed, draw.first, draw.last), (true, 5, 1_000), "two percentages are no plan");
}

#[test]
fn a_draw_changes_with_users_and_minutes() {
    let mut evidence = RouteEvidence::default();
    let mut news = |at, user| {
        evidence.draw(Phase(1), Stratum::Rollout, Drawn { at, ..drawn(user, Arm::Control) });
        evidence.take_changed_draws().len()
    };
    let seen = [(1_000, 1), (1_001, 1), (1_059, 1), (1_060, 1), (1_061, 2), (900, 2)];
    assert_eq!(seen.map(|(at, user)| news(at, user)), [1, 0, 0, 1, 1, 1]);
}

#[test]
fn days_are_kept_in_order_and_bounded() {
    let mut evidence = RouteEvidence::default();
    let key = key(1, Stratum::Rollout, 0);
    let most = MAX_DAYS as Day;
    for day in (0..most).rev().chain([most, most, -5]) {
        evidence.observe(key, Observation { bucket: Some(1), value: 2.0, day }, false);
    }
    let cell = evidence.cell(key).unwrap();
    let days: Vec<Day> = cell.days().iter().map(|(day, _)| *day).collect();
    assert_eq!(days, (1..=most).collect::<Vec<_>>());
    assert_eq!(cell.days().last().unwrap().1.sum, 4.0);
    let bytes = encode(&Kept::Cell(cell.clone()));
    assert_eq!(
        decode(&bytes),
        Ok(Kept::Cell({
            let mut cell = cell.clone();
            cell.settle();
            cell
        }))
    );
    let mut twice = cell.clone();
    twice.merge(cell);
    assert_eq!(twice.days().last().unwrap().1.sum, 8.0);
}

#[test]
fn there_is_one_way_of_writing_each() {
    let draw_head = |percent: f64, first: i64, last: i64| {
        [&b"\x01r"[..], &percent.to_le_bytes(), &[0], &first.to_le_bytes(), &last.to_le_bytes()].concat()
    };
    let empty_draw = |percent, first, last| [&draw_head(percent, first, last)[..], &u64::MAX.to_le_bytes()].concat();
    let sums = |count: f64| [count.to_le_bytes(), 1_f64.to_le_bytes(), 1_f64.to_le_bytes()].concat();
    let bucket = |index: u16, sums: &[u8]| [&index.to_le_bytes()[..], sums].concat();
    let cell = |buckets: &[Vec<u8>], times: &[u8]| {
        let count = (buckets.len() as u16).to_le_bytes();
        [b"\x01c", &sums(2.0)[..], &count, &buckets.concat(), times].concat()
    };
    let sketch = |counts: &[(u16, u32)]| {
        let counts = counts.iter().flat_map(|(index, count)| [&index.to_le_bytes()[..], &count.to_le_bytes()].concat());
        [&[1, 2, 0][..], &counts.collect::<Vec<u8>>()].concat()
    };
    let users = |samples: [u64; 2]| {
        let samples = samples.into_iter().flat_map(|sample| [&sample.to_le_bytes()[..], &[1]].concat());
        [&draw_head(10.0, 1, 2)[..], &u64::MAX.to_le_bytes(), &samples.collect::<Vec<u8>>()].concat()
    };
    let rows = [
        (cell(&[bucket(1, &sums(1.0)), bucket(2, &sums(1.0))], &[0]), true),
        (cell(&[bucket(2, &sums(1.0)), bucket(1, &sums(1.0))], &[0]), false),
        (cell(&[bucket(1, &sums(1.0)), bucket(1, &sums(1.0))], &[0]), false),
        (cell(&[bucket(1, &[0; 24])], &[0]), false),
        (cell(&[bucket(1, &sums(0.5))], &[0]), false),
        (cell(&[bucket(1, &sums(5e-324))], &[0]), false),
        (cell(&[bucket(1, &sums(-1.0))], &[0]), false),
        (cell(&[], &sketch(&[(3, 1), (4, 1)])), true),
        (cell(&[], &sketch(&[(4, 1), (3, 1)])), false),
        (cell(&[], &sketch(&[(3, 1), (4, 0)])), false),
        (users([1, 2]), true),
        (users([2, 1]), false),
        (empty_draw(10.0, 1, 2), true),
        (empty_draw(10.0, 2, 1), false),
        (empty_draw(101.0, 1, 2), false),
        (empty_draw(-0.0, 1, 2), false),
        (empty_draw(f64::NAN, 1, 2), false),
        (users([1, 1]), false),
    ];
    for (row, (bytes, is_written_so)) in rows.into_iter().enumerate() {
        assert_eq!(decode(&bytes).map(|kept| encode(&kept)).ok(), is_written_so.then_some(bytes), "row {row}");
    }
}

#[test]
fn large_numbers_stay_readable_and_have_no_spread_of_zero() {
    let mut cell = of(&[(1, 1e200), (2, 1e200), (3, -1e200)]);
    assert_eq!(cell.moments().ratio(), None);
    let other = cell.clone();
    cell.merge(&other);
    let bytes = encode(&Kept::Cell(cell));
    assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
    let most = crate::domain::metric::MAX_NUMBER;
    let (ratio, variance) = of(&[(1, most), (2, most), (3, -most)]).moments().ratio().unwrap();
    assert!(ratio.is_finite() && variance > 0.0 && variance.is_finite(), "{ratio} {variance}");
}

fn observations() -> impl Strategy<Value = Vec<(u16, f64)>> {
    proptest::collection::vec((0_u16..1024, 0.0_f64..1e7), 0..60)
}

proptest! {
    #[test]
    fn merging_is_seeing_both(a in observations(), b in observations()) {
        let mut evidence = RouteEvidence::default();
        let key = key(1, Stratum::Rollout, 0);
        evidence.merge_cell(key, &of(&a));
        evidence.merge_cell(key, &of(&b));
        let (merged, both) = (evidence.cell(key).unwrap(), of(&[a, b].concat()));
        prop_assert_eq!(merged.total().count, both.total().count);
        prop_assert!((merged.total().sum - both.total().sum).abs() <= 1e-9 * both.total().sum.max(1.0));
        prop_assert_eq!(merged.times(), both.times());
        prop_assert_eq!(merged.moments().clusters, both.moments().clusters);
    }

    #[test]
    fn what_is_written_is_read(values in observations(), users in proptest::collection::vec(any::<u64>(), 0..60)) {
        let cell = Kept::Cell(of(&values));
        let mut draw = Draw::new(drawn(1, Arm::Candidate));
        users.iter().for_each(|user| draw.add(drawn(*user, Arm::Control)));
        for kept in [cell, Kept::Draw(draw)] {
            let bytes = encode(&kept);
            prop_assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
        }
    }

    #[test]
    fn whatever_is_read_is_whole_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_usize..3) {
        let head: &[u8] = [&b"\x01c"[..], b"\x01r", b""][kind];
        let bytes = [head, &bytes].concat();
        if let Ok(kept) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&kept)).unwrap(), kept);
        }
    }

    #[test]
    fn samples_merge_in_any_order(a in proptest::collection::vec(0_u64..1000, 0..50), b in proptest::collection::vec(0_u64..1000, 0..50)) {
        let of = |users: &[u64], arm| { let mut sample = UserSample::default(); users.iter().for_each(|user| { sample.add(*user, arm, false); }); sample };
        let (one, other) = (of(&a, Arm::Control), of(&b, Arm::Candidate));
        let (mut left, mut right) = (one.clone(), other.clone());
        left.merge(&other);
        right.merge(&one);
        prop_assert_eq!(left, right);
    }
}
