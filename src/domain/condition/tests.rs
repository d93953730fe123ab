use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn predicate(operator: Operator, kind: Type, operand: Operand) -> Predicate {
    Predicate::new(operator, kind, operand).unwrap_or_else(|mistake| panic!("{mistake:?}"))
}

fn text(text: &str) -> Operand {
    Operand::Text(text.to_owned())
}

fn texts(items: &[&str]) -> Operand {
    Operand::List(items.iter().copied().map(text).collect())
}

fn holds(operator: Operator, kind: Type, operand: Operand, value: &str) -> Truth {
    let fact = Fact::read(kind, Cow::Borrowed(value));
    predicate(operator, kind, operand).holds(fact.as_ref())
}

#[test]
fn every_operator_of_every_type() {
    use Operator as Op;
    use Type::{Boolean, List, Number, Semver, String, Timestamp};
    let rows = [
        (Op::Eq, String, text("premium"), "premium", "premium "),
        (Op::Ne, String, text("premium"), "trial", "premium"),
        (Op::In, String, texts(&["b", "a"]), "a", "c"),
        (Op::NotIn, String, texts(&["b", "a"]), "c", "b"),
        (Op::Prefix, String, text("us_"), "us_east", "eu_us_"),
        (Op::Suffix, String, text("@example.com"), "a@example.com", "a@example.com.evil"),
        (Op::Contains, String, text("chat"), "a chat b", "cha t"),
        (Op::Regex, String, text("^beta-[0-9]+$"), "beta-12", "beta-"),
        (Op::MinLength, String, Operand::Number(3.0), "åäö", "åä"),
        (Op::MaxLength, String, Operand::Number(3.0), "åäö", "åäöx"),
        (Op::Cidr, String, text("10.0.0.0/8"), "::ffff:10.2.3.4", "11.0.0.1"),
        (Op::Cidr, String, texts(&["192.168.0.1", "fd00::/8"]), "fd00::1", "192.168.0.2"),
        (Op::Eq, Number, Operand::Number(0.0), "-0", "1e-9"),
        (Op::Ne, Number, Operand::Number(1.0), "2", "1.0"),
        (Op::Gt, Number, Operand::Number(5.0), "5.1", "5"),
        (Op::Gte, Number, Operand::Number(50_000.0), "50000", "49999.99"),
        (Op::Lt, Number, Operand::Number(0.0), "-1", "-0.0"),
        (Op::Lte, Number, Operand::Number(5.0), "5", "5.1"),
        (Op::Eq, Boolean, Operand::Boolean(true), "True", "false"),
        (Op::Contains, List, text("b"), "a, b", "bb"),
        (Op::Eq, List, text("b"), "a,b", "a"),
        (Op::NotIn, List, texts(&["a", "b"]), "c,d", "c,b"),
        (Op::MinLength, List, Operand::Number(2.0), "a,b", "a,,"),
        (Op::MaxLength, List, Operand::Number(1.0), "a", "a,b"),
        (Op::Before, Timestamp, text("2026-01-01T00:00:00Z"), "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
        (Op::After, Timestamp, text("2026-01-01T00:00:00Z"), "2026-01-01T00:30:00-01:00", "2026-01-01T00:30:00+01:00"),
        (Op::SemverGt, Semver, text("2.9.0"), "v2.10.0", "2.9.0"),
        (Op::SemverLt, Semver, text("2.9.0"), "2.9.0-rc.1", "2.9.0+build"),
        (Op::Eq, Semver, text("1.2.3"), "1.2.3+build", "1.2.4"),
    ];
    for (operator, kind, operand, yes, no) in rows {
        let told = format!("{} {}", operator.as_str(), kind.as_str());
        assert_eq!(holds(operator, kind, operand.clone(), yes), Truth::True, "{told} {yes}");
        assert_eq!(holds(operator, kind, operand.clone(), no), Truth::False, "{told} {no}");
        assert_eq!(predicate(operator, kind, operand).holds(None), Truth::Unknown, "{told} without a value");
    }
}

#[test]
fn only_exists_sees_absence() {
    for (wanted, present) in [(true, true), (true, false), (false, true), (false, false)] {
        let fact = present.then(|| Fact::Text("x".into()));
        let found = predicate(Operator::Exists, Type::String, Operand::Boolean(wanted)).holds(fact.as_ref());
        assert_eq!(found, Truth::from(wanted == present));
    }
}

#[test]
fn what_cannot_be_read_as_its_type_is_missing() {
    let rows = [
        (Type::Number, "many"),
        (Type::Number, "1e999"),
        (Type::Number, "NaN"),
        (Type::Boolean, "1"),
        (Type::Timestamp, "2026-01-01"),
        (Type::Semver, "1.2"),
    ];
    for (kind, value) in rows {
        assert_eq!(Fact::read(kind, Cow::Borrowed(value)), None, "{value}");
    }
    assert_eq!(holds(Operator::Cidr, Type::String, text("10.0.0.0/8"), "here"), Truth::Unknown);
}

#[test]
fn mistakes_of_type_are_refused() {
    let rows = [
        (Operator::Gt, Type::String, Operand::Number(1.0)),
        (Operator::SemverGt, Type::String, text("1.0.0")),
        (Operator::Eq, Type::String, Operand::Number(1.0)),
        (Operator::Eq, Type::Number, text("1")),
        (Operator::Eq, Type::Boolean, text("true")),
        (Operator::In, Type::String, text("a")),
        (Operator::In, Type::String, Operand::List(Vec::new())),
        (Operator::Regex, Type::String, text("(")),
        (Operator::Regex, Type::String, text("(a{1000}){1000}")),
        (Operator::MinLength, Type::String, Operand::Number(-1.0)),
        (Operator::MinLength, Type::String, Operand::Number(1.5)),
        (Operator::Gt, Type::Number, Operand::Number(f64::NAN)),
        (Operator::Before, Type::Timestamp, text("tomorrow")),
        (Operator::Cidr, Type::String, text("10.0.0.0/33")),
        (Operator::Exists, Type::String, text("yes")),
        (Operator::Regex, Type::List, text("a")),
    ];
    for (operator, kind, operand) in rows {
        let told = format!("{operator:?} {kind:?} {operand:?}");
        assert!(Predicate::new(operator, kind, operand).is_err(), "{told}");
    }
    let second = Predicate::new(Operator::In, Type::Number, Operand::List(vec![Operand::Number(1.0), text("x")]));
    assert_eq!(second.unwrap_err().item, Some(1));
}

#[test]
fn kleenes_laws_hold() {
    for a in Truth::ALL {
        assert_eq!(!!a, a);
        assert_eq!((a.and(Truth::True), a.or(Truth::False)), (a, a));
        assert_eq!((a.and(Truth::False), a.or(Truth::True)), (Truth::False, Truth::True));
        assert_eq!(a.holds(), a == Truth::True);
        for b in Truth::ALL {
            assert_eq!((a.and(b), a.or(b)), (b.and(a), b.or(a)));
            assert_eq!((!a.and(b), !a.or(b)), ((!a).or(!b), (!a).and(!b)));
            for c in Truth::ALL {
                assert_eq!(a.and(b.or(c)), a.and(b).or(a.and(c)));
                assert_eq!(a.and(b).and(c), a.and(b.and(c)));
            }
        }
    }
    assert_eq!(!Truth::Unknown, Truth::Unknown);
}

/// A condition as the naive interpreter sees it: attributes of type string, equal to one of several.
#[derive(Debug, Clone)]
enum Plain {
    One(Slot, Operator, Vec<String>),
    Exists(Slot, bool),
    All(Vec<Plain>),
    Any(Vec<Plain>),
    Not(Box<Plain>),
    Segment(Box<Plain>),
}

fn plain() -> impl Strategy<Value = Plain> {
    let words = proptest::collection::vec("[ab]{1,2}", 1..4);
    let operator = prop_oneof![
        Just(Operator::In),
        Just(Operator::NotIn),
        Just(Operator::Eq),
        Just(Operator::Ne),
        Just(Operator::Prefix),
        Just(Operator::Suffix),
        Just(Operator::Contains),
    ];
    let leaf = prop_oneof![
        (0..4_usize, operator, words).prop_map(|(slot, operator, words)| Plain::One(slot, operator, words)),
        (0..4_usize, any::<bool>()).prop_map(|(slot, wanted)| Plain::Exists(slot, wanted)),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Plain::All),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Plain::Any),
            inner.clone().prop_map(|one| Plain::Not(Box::new(one))),
            inner.prop_map(|one| Plain::Segment(Box::new(one))),
        ]
    })
}

fn compiled(plain: &Plain) -> Clause {
    let attribute = |slot: Slot, operator: Operator, operand: Operand| Clause::Attribute {
        slot,
        name: Arc::from(format!("kind.a{slot}")),
        predicate: predicate(operator, Type::String, operand),
    };
    match plain {
        Plain::One(slot, operator @ (Operator::In | Operator::NotIn), words) => {
            attribute(*slot, *operator, Operand::List(words.iter().cloned().map(Operand::Text).collect()))
        }
        Plain::One(slot, operator, words) => attribute(*slot, *operator, Operand::Text(words[0].clone())),
        Plain::Exists(slot, wanted) => attribute(*slot, Operator::Exists, Operand::Boolean(*wanted)),
        Plain::All(clauses) => Clause::All(clauses.iter().map(compiled).collect()),
        Plain::Any(clauses) => Clause::Any(clauses.iter().map(compiled).collect()),
        Plain::Not(clause) => Clause::Not(Box::new(compiled(clause))),
        Plain::Segment(clause) => Clause::Segment(Arc::new(Segment::new("s", compiled(clause)))),
    }
}

/// `None` is unknown. No short cuts, no shared code.
fn interpreted(plain: &Plain, values: &[Option<String>]) -> Option<bool> {
    let many = |clauses: &[Plain], decisive: bool| {
        let results: Vec<Option<bool>> = clauses.iter().map(|clause| interpreted(clause, values)).collect();
        if results.contains(&Some(decisive)) {
            Some(decisive)
        } else if results.contains(&None) {
            None
        } else {
            Some(!decisive)
        }
    };
    match plain {
        Plain::One(slot, operator, words) => {
            let value = values.get(*slot)?.as_ref()?;
            let (first, among) = (&words[0], words.iter().any(|word| word == value));
            let rows = [
                (Operator::In, among),
                (Operator::NotIn, !among),
                (Operator::Eq, first == value),
                (Operator::Ne, first != value),
                (Operator::Prefix, value.len() >= first.len() && value[..first.len()] == **first),
                (Operator::Suffix, value.len() >= first.len() && value[value.len() - first.len()..] == **first),
                (Operator::Contains, (0..=value.len()).any(|at| value[at..].starts_with(first))),
            ];
            rows.iter().find(|(known, _)| known == operator).map(|(_, holds)| *holds)
        }
        Plain::Exists(slot, wanted) => Some(values.get(*slot).is_some_and(Option::is_some) == *wanted),
        Plain::All(clauses) => many(clauses, false),
        Plain::Any(clauses) => many(clauses, true),
        Plain::Not(clause) => interpreted(clause, values).map(|holds| !holds),
        Plain::Segment(clause) => interpreted(clause, values),
    }
}

proptest! {
    #[test]
    fn compiled_conditions_say_what_a_naive_interpreter_says(
        plain in plain(),
        values in proptest::collection::vec(proptest::option::of("[ab]{0,3}"), 0..5),
    ) {
        let facts: Vec<Option<Fact<'_>>> =
            values.iter().map(|value| value.as_deref().map(|text| Fact::Text(text.into()))).collect();
        let clause = compiled(&plain);
        let expected = interpreted(&plain, &values).map_or(Truth::Unknown, Truth::from);
        prop_assert_eq!(clause.evaluate(&facts), expected);
        let examined = clause.explain(&facts);
        prop_assert_eq!(examined[0].result, expected);
        prop_assert_eq!(examined.len(), clause.extent().clauses);
        prop_assert_eq!(examined.iter().map(|one| one.depth + 1).max(), Some(clause.extent().depth));
    }

    #[test]
    fn nothing_that_is_sent_or_typed_panics(
        operator in proptest::sample::select(Operator::ALL.to_vec()),
        kind in proptest::sample::select(Type::ALL.to_vec()),
        typed in any::<String>(),
        number in any::<f64>(),
        sent in any::<String>(),
    ) {
        let operands = [
            Operand::Text(typed.clone()),
            Operand::Number(number),
            Operand::Boolean(true),
            Operand::List(vec![Operand::Text(typed), Operand::Number(number)]),
        ];
        for operand in operands {
            if let Ok(predicate) = Predicate::new(operator, kind, operand) {
                for read in Type::ALL {
                    let fact = Fact::read(read, Cow::Borrowed(&sent));
                    let truth = predicate.holds(fact.as_ref());
                    prop_assert!(fact.is_some() || operator == Operator::Exists || truth == Truth::Unknown);
                }
            }
        }
    }
}

#[test]
fn segments_that_double_are_measured_in_no_time() {
    let leaf = compiled(&Plain::Exists(0, true));
    let mut segment = Arc::new(Segment::new("s", leaf));
    for _ in 0..MAX_DEPTH {
        let twice = Box::new([Clause::Segment(Arc::clone(&segment)), Clause::Segment(Arc::clone(&segment))]);
        segment = Arc::new(Segment::new("s", Clause::Any(twice)));
    }
    assert!(!Clause::Segment(segment).extent().is_allowed());
}
