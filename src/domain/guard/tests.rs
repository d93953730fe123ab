use super::*;
use proptest::prelude::*;

fn comparison(text: &str) -> Comparison {
    match parse(text) {
        Ok(Expression::Comparison(comparison)) => comparison,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn conditions_are_read() {
    let number = |number, unit| Against::Number(Quantity { number, unit });
    let control = |factor, number, unit| Against::Control { factor, offset: Quantity { number, unit } };
    let rows = [
        ("error_rate > 5%", "error_rate", None, Comparator::Above, number(0.05, Unit::Percent), None),
        (
            "latency.mean<2_000ms",
            "latency",
            Some(Statistic::Mean),
            Comparator::Below,
            number(2_000.0, Unit::Time),
            None,
        ),
        ("latency.p95 >= 10s", "latency", Some(Statistic::P95), Comparator::AtLeast, number(1e4, Unit::Time), None),
        ("quality > control * 1.10", "quality", None, Comparator::Above, control(1.1, 0.0, Unit::Plain), None),
        (
            "a.b.per_user <= control*80% + 3 ms",
            "a.b",
            Some(Statistic::PerUser),
            Comparator::AtMost,
            control(0.8, 3.0, Unit::Time),
            None,
        ),
        (
            "quality > control - 0.05 at 95%",
            "quality",
            None,
            Comparator::Above,
            control(1.0, -0.05, Unit::Plain),
            Some(0.95),
        ),
        (
            "cache-hits.rate > 20 % at 99%",
            "cache-hits",
            Some(Statistic::Rate),
            Comparator::Above,
            number(0.2, Unit::Percent),
            Some(0.99),
        ),
        ("cost.sum > 50", "cost", Some(Statistic::Sum), Comparator::Above, number(50.0, Unit::Plain), None),
    ];
    for (text, metric, statistic, comparator, against, confidence) in rows {
        let found = comparison(text);
        assert_eq!(found.metric.0, metric, "{text}");
        assert_eq!(&text[found.metric.1.clone()], metric, "{text}");
        assert_eq!(found.statistic.as_ref().map(|(statistic, _)| *statistic), statistic, "{text}");
        if let Some((statistic, at)) = &found.statistic {
            assert_eq!(&text[at.clone()], statistic.as_str(), "{text}");
        }
        assert_eq!((found.comparator, found.against, found.confidence), (comparator, against, confidence), "{text}");
    }
    assert_eq!(parse(" breaker_open "), Ok(Expression::BreakerOpen));
    assert_eq!(parse("quality_gate_shut"), Ok(Expression::QualityGateShut));
}

#[test]
fn mistakes_have_a_place_and_say_what_would_be_right() {
    let rows = [
        ("", "the end of the condition", "a metric, then"),
        ("error_rate", "the end of the condition", "one of > >= < <="),
        ("error_rate > ", "the end of the condition", "a number such as"),
        ("error_rate = 5%", "\"= 5%\"", "one of > >= < <="),
        ("error_rate > five", "\"five\"", "a number such as"),
        ("error_rate > 5 percent", "\"percent\"", "one of the units"),
        ("error_rate > 5% and more", "\"and more\"", "nothing more"),
        ("error_rate > control * 0", "\"0\"", "a factor above 0"),
        ("error_rate > control * 3s", "\"3s\"", "a factor above 0"),
        ("error_rate > control at 5%", "\"5%\"", "a confidence from"),
        ("5 > 3", "\"5 > 3\"", "a metric, then"),
        ("breaker_open > 3", "\"> 3\"", "nothing more"),
        ("x > 1.2.3", "\"1.2.3\"", "a number such as"),
    ];
    for (text, found, help) in rows {
        let mistake = parse(text).unwrap_err();
        assert_eq!(mistake.found, found, "{text}");
        assert!(mistake.help.contains(help), "{text}: {}", mistake.help);
    }
}

#[test]
fn there_are_three_answers() {
    let reading = |value, samples| Some(Reading { value, samples });
    let rows = [
        (Comparator::Above, reading(0.06, 100.0), None, false, Verdict::Holds),
        (Comparator::Above, reading(0.05, 100.0), None, false, Verdict::Fails),
        (Comparator::AtLeast, reading(0.05, 100.0), None, false, Verdict::Holds),
        (Comparator::Below, reading(0.05, 100.0), None, false, Verdict::Fails),
        (Comparator::AtMost, reading(0.05, 100.0), None, false, Verdict::Holds),
        (Comparator::Above, reading(0.06, 19.0), None, false, Verdict::NotEnoughData),
        (Comparator::Above, None, None, false, Verdict::NotEnoughData),
        (Comparator::Above, reading(f64::NAN, 100.0), None, false, Verdict::NotEnoughData),
        // A sum that is still growing.
        (Comparator::Above, reading(0.06, 100.0), None, true, Verdict::Holds),
        (Comparator::Above, reading(0.04, 100.0), None, true, Verdict::NotEnoughData),
        (Comparator::Below, reading(0.04, 100.0), None, true, Verdict::NotEnoughData),
        (Comparator::Below, reading(0.06, 100.0), None, true, Verdict::Fails),
    ];
    for (row, (comparator, candidate, control, is_partial, verdict)) in rows.into_iter().enumerate() {
        let figures = Figures { candidate, control, is_partial };
        let finding = judge(comparator, Limit::Number(0.05), &figures, 20.0);
        assert_eq!(finding.verdict, verdict, "row {row}");
    }
    let figures = Figures { candidate: reading(3.0, 50.0), control: reading(1.0, 10.0), is_partial: false };
    let double = Limit::OfControl { factor: 2.0, offset: 0.0 };
    assert_eq!(judge(Comparator::Above, double, &figures, 20.0).verdict, Verdict::NotEnoughData);
    let finding = judge(Comparator::Above, double, &figures, 10.0);
    assert_eq!((finding.verdict, finding.limit, finding.samples), (Verdict::Holds, Some(2.0), 10.0));
}

proptest! {
    #[test]
    fn whatever_is_typed_is_read_or_refused_with_a_place(text in "[a-z_.]{0,8} ?[<>=]{0,2} ?(control|[0-9.]{1,4}|.{0,3})? ?[*+%a-z-]{0,3} ?[0-9.]{0,3}[%a-zé]{0,3}") {
        if let Err(mistake) = parse(&text) {
            prop_assert!(mistake.at.start <= mistake.at.end && mistake.at.end <= text.len().max(1), "{mistake:?}");
            prop_assert!(text.is_char_boundary(mistake.at.start.min(text.len())));
        }
    }
}
