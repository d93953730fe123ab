use super::demands::Demand;
use super::*;

/// Runs of the small trials; the whole ones are `pointsman rehearse --demands`.
const RUNS: u64 = 10;

fn courses(demand: Demand, runs: u64) -> Courses {
    let mut courses = Courses::default();
    (0..runs).for_each(|seed| courses.add(demand.run(seed)));
    courses
}

#[test]
fn guards_act_soon_on_what_is_bad() {
    for demand in [Demand::Dead, Demand::Quality, Demand::Errors] {
        let courses = courses(demand, RUNS);
        assert!(demand.kept(&courses) > 0.9, "{}: {}", demand.words(), demand.kept(&courses));
        assert_eq!(courses.ended(End::RolledBack), RUNS as usize, "{}", demand.words());
    }
}

#[test]
fn a_whole_rollout_of_an_equal_candidate_completes() {
    let courses = courses(Demand::Equal, 1);
    assert_eq!(courses.ended(End::Completed), 1, "{courses:?}");
    assert!(courses.fewest_looks(End::Completed).unwrap() >= 5_000);
    let took = courses.duration(End::Completed).unwrap().as_secs();
    assert_eq!(took, 5_250, "as long as its stages hold and it is watched");
}

#[test]
fn the_same_seed_gives_the_same_course() {
    assert_eq!(Demand::Quality.run(3), Demand::Quality.run(3));
    assert_ne!(Demand::Quality.run(3), Demand::Quality.run(4));
}
