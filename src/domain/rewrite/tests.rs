use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::Arm;
use crate::domain::condition::Fact;

const LIMIT: usize = 1 << 20;

fn facts() -> Vec<(Arc<str>, Option<Fact<'static>>)> {
    vec![
        ("user.tier".into(), Some(Fact::Text("gold".into()))),
        ("user.age".into(), Some(Fact::Number(42.0))),
        ("user.beta".into(), Some(Fact::Boolean(true))),
        ("user.tags".into(), Some(Fact::List(vec!["a".into(), "b".into()]))),
        ("session.region".into(), None),
    ]
}

fn compiled(template: &Value, side: Side) -> Template {
    Template::compile(template, side).unwrap_or_else(|mistake| panic!("{template}: {mistake:?}"))
}

fn rendered(template: &Value, body: &Value) -> Result<Value, Failure> {
    let facts = facts();
    let given = Given { body, facts: &facts, route: "answers", arm: Arm::Candidate, answer: None };
    compiled(template, Side::Request).render(&given, LIMIT)
}

#[test]
fn templates_make_documents() {
    let body = json!({"query": "taxis \"now\"", "body": 1, "n": 7, "f": 0.5, "list": ["a", {"b": null}], "no": null});
    let rows = [
        // Text: values bring their own quotes.
        (json!(r#"{"q": {{ query }}, "mode": "hybrid"}"#), json!({"q": "taxis \"now\"", "mode": "hybrid"})),
        (json!(r#"{"q": {{ "Answer: " ~ query }}}"#), json!({"q": "Answer: taxis \"now\""})),
        (json!("{{ body }}"), body.clone()),
        (
            json!("[{% for x in list %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}]"),
            json!(["a", {"b": null}]),
        ),
        (json!("{% set t %}{{ query }}{% endset %}[{{ t }}]"), json!(["taxis \"now\""])),
        // A table: texts with placeholders, a placeholder alone keeps its type.
        (
            json!({"query": "Answer concisely about NYC taxi data: {{ query }}", "mode": "hybrid", "top_k": 5}),
            json!({"query": "Answer concisely about NYC taxi data: taxis \"now\"", "mode": "hybrid", "top_k": 5}),
        ),
        (json!({"a": "{{ n }}", "b": ["{{ list }}", "n={{ n }}"]}), json!({"a": 7, "b": [["a", {"b": null}], "n=7"]})),
        (
            json!({"a": " {{ f | times(2) }} ", "b": "{{ no }}", "c": "{{ n }}{{ n }}"}),
            json!({"a": 1.0, "b": null, "c": "77"}),
        ),
        (json!({"a": "no placeholder } {", "b": true}), json!({"a": "no placeholder } {", "b": true})),
        // Names.
        (json!(["{{ body.query }}", "{{ route }}", "{{ arm }}"]), json!(["taxis \"now\"", "answers", "candidate"])),
        (
            json!(["{{ contexts.user.tier }}", "{{ contexts.user.age }}", "{{ contexts.user.tags }}"]),
            json!(["gold", 42, ["a", "b"]]),
        ),
        (json!(["{{ contexts.session.region | default('us') }}"]), json!(["us"])),
        (json!(["{{ list | first | upper | trim }}", "{{ ['x', 'y'] | join('-') }}"]), json!(["A", "x-y"])),
        (json!(["{{ missing is defined }}", "{{ query is string }}"]), json!([false, true])),
    ];
    for (template, expected) in rows {
        assert_eq!(rendered(&template, &body), Ok(expected), "{template}");
    }
}

#[test]
fn what_cannot_be_made_is_a_failure() {
    let body = json!({"query": "x", "list": vec![1; 1000], "text": "y".repeat(100_000), "s": "a", "f": 1e300});
    let failed = |kind: &str| Failure::Template(kind.to_owned());
    let rows = [
        (json!("{{ missing }}"), failed("undefined value in line 1")),
        (json!("{\"a\":\n{{ query.x.y }}}"), failed("undefined value in line 2")),
        (json!({"a": "x {{ contexts.session.region }}"}), failed("undefined value in line 1")),
        (json!("{% if missing %}1{% endif %}"), failed("undefined value in line 1")),
        (json!("{{ query + 1 }}"), failed("invalid operation in line 1")),
        (json!("{{ query"), Failure::Output),
        (json!("{\"a\": {{ query }}"), Failure::Output),
        (
            json!("[{% for a in list %}{% for b in list %}{{ a }},{% endfor %}{% endfor %}0]"),
            failed("engine ran out of fuel in line 1"),
        ),
        (json!("[{% for a in list %}{{ text }},{% endfor %}0]"), Failure::TooLarge),
        (json!({"a": "{% for a in list %}{{ text }}{% endfor %}"}), Failure::TooLarge),
        (json!("{% set t %}{% for a in list %}{{ text }}{% endfor %}{% endset %}1"), Failure::TooLarge),
        (json!("{{ list | join(text) }}"), Failure::TooLarge),
        (json!("{{ [list, list] | map('join', text[:10000]) | length }}"), Failure::TooLarge),
        (json!("{% for x in list %}{% if text | tojson %}{% endif %}{% endfor %}1"), Failure::TooLarge),
        (json!("{{ list | tojson(indent=1000000000) }}"), failed("too many arguments in line 1")),
        (json!("{% set t %}{% for a in list %}{{ body }}{% endfor %}{% endset %}1"), Failure::TooLarge),
        (
            json!(format!(
                "{{% set b = [{}0] %}}{{% set t %}}{{% for a in list %}}{{{{ b }}}}{{% endfor %}}{{% endset %}}1",
                "f, ".repeat(60)
            )),
            Failure::TooLarge,
        ),
        (json!("{% autoescape false %}{{ query }}{% endautoescape %}"), failed("invalid operation in line 1")),
        (json!("{{ ['a'] | map('replace', 'a', 'b') | list }}"), failed("unknown filter in line 1")),
    ];
    for (template, expected) in rows {
        if expected == Failure::Output && template == json!("{{ query") {
            assert!(Template::compile(&template, Side::Request).is_err());
            continue;
        }
        assert_eq!(rendered(&template, &body), Err(expected), "{template}");
    }
}

/// What would take memory or time far beyond the size of a body is refused when the file is loaded.
#[test]
fn templates_that_multiply_are_refused() {
    let doubled = |times: usize| format!("{{% set a = body.s %}}{}", "{% set a = a ~ a %}".repeat(times));
    let text = "x".repeat(growth::MAX_REPEATED_TEXT + 1);
    let (product, many) = ("`*` in a template", "a value made of too many others");
    let rows = [
        (r#"{{ "x" * body.n }}"#.to_owned(), product),
        ("{{ [1] * body.n }}".to_owned(), product),
        ("{{ body.a ** 2 }}".to_owned(), product),
        ("{{ raw }}{{ s * 2 }}".to_owned(), product),
        ("{% raw %}endraw {#{% endraw %}{{ s * 2 }}{# #}".to_owned(), product),
        ("{#}{% raw %}#}{{ s * 2 }}".to_owned(), product),
        (r#""\{{ s * 2 }}""#.to_owned(), "a value within quotes"),
        ("{{ s[::-1] }}".to_owned(), "a slice with a step"),
        ("{{ s[a[1:]:2:2] }}".to_owned(), "a slice with a step"),
        ("{% for x in list recursive %}{{ loop([x ~ x]) }}{% endfor %}".to_owned(), "a loop that is `recursive`"),
        (doubled(7) + "{{ a }}", many),
        (doubled(6) + "{{ [a, a] }}", many),
        ("{% set a = [s, s, s, s] %}{% set b = [a, a, a, a] %}{{ [b, b, b, b] == [b] }}".to_owned(), many),
        ("{% with a = [s, s, s, s], b = [a, a, a, a, a], c = [b, b, b, b] %}{{ c }}{% endwith %}".to_owned(), many),
        ("{% set a, b = [s, s, s, s], [s, s, s, s] %}{% set c = [a, b, a, b] %}{{ [c, c, c] }}".to_owned(), many),
        ("{% for x in [s, s, s, s, s, s, s, s] %}{{ [x, x, x, x, x, x, x, x, x] }}{% endfor %}".to_owned(), many),
        ("{% set t %}{{ s }}{% endset %}{{ t ~ t ~ t ~ t ~ t }}".to_owned(), many),
        (
            format!("{{% set t %}}{{% for x in list %}}{text}{{% endfor %}}{{% endset %}}1"),
            "too much text that a loop repeats into a variable",
        ),
    ];
    for (template, found) in rows {
        let mistakes = Template::compile(&json!(template), Side::Request).expect_err(&template);
        assert_eq!(mistakes[0].1.found, found, "{template}");
    }
    let rows = [
        doubled(6) + "{{ a }}",
        "{% set role = s %}{% for m in list %}{% set line = role ~ \": \" ~ m %}{{ line }}{% endfor %}".to_owned(),
        format!("{{% for x in list %}}{{% set t %}}{{{{ x }}}}{{% endset %}}{text}{{% endfor %}}"),
        "{{ s[1:3] }}{{ {\"a\": 1, \"b\": 2}[\"a\"] }}".to_owned(),
        "{% raw %}{{ a * b }}{% endraw %}".to_owned(),
    ];
    for template in rows {
        compiled(&json!({ "a": format!("{template} ") }), Side::Request);
    }
}

#[test]
fn numbers_are_multiplied_and_nothing_else() {
    let body = json!({"n": 3, "f": 0.5, "s": "x", "list": [1], "big": i64::MAX});
    let rows = [
        ("{{ n | times(2) }}", Some(json!(6))),
        ("{{ f | times(n) }}", Some(json!(1.5))),
        ("{{ big | times(big) }}", Some(json!(i64::MAX as f64 * i64::MAX as f64))),
        ("{{ s | times(n) }}", None),
        ("{{ n | times(s) }}", None),
        ("{{ list | times(n) }}", None),
        ("{{ n | times(n, n) }}", None),
    ];
    for (template, expected) in rows {
        assert_eq!(rendered(&json!(template), &body).ok(), expected, "{template}");
    }
}

#[test]
fn a_body_cannot_write_more_than_a_value() {
    let attacks = [r#""}], "x": ""#, "\"", "\\", "\\\"", "{{ 7 * 7 }}", "{% raw %}", "\u{2028}\u{0}\n</script>", "}}"];
    let templates = [
        json!(r#"{"q": {{ query }}, "end": 1}"#),
        json!(r#"{"q": {{ body.query }}, "end": 1}"#),
        json!("{% set t %}{{ query }}{% endset %}{\"q\": {{ t }}, \"end\": 1}"),
        json!("{\"q\": {{ query | tojson }}, \"end\": 1}"),
        json!({"q": "{{ query }}", "end": 1}),
        json!({"q": "{{ query }}{{ '' }}", "end": 1}),
    ];
    for attack in attacks {
        for template in &templates {
            let found = rendered(template, &json!({ "query": attack }));
            assert_eq!(found, Ok(json!({"q": attack, "end": 1})), "{template} {attack:?}");
        }
    }
}

#[test]
fn mistakes_have_their_place() {
    let rows = [
        (json!("{{ query"), "", 1, "syntax error"),
        (json!("{\n  \"a\": {{ 1 + }}\n}"), "", 2, "syntax error"),
        (json!("{\"q\": \"Answer: {{ query }}\"}"), "", 1, "a value within quotes"),
        (json!({"a": [1, "{{ x | shout }}"]}), "/a/1", 1, "there is no filter `shout`"),
        (json!({"a/b": "{{ x | safe }}"}), "/a~1b", 1, "there is no filter `safe`"),
        (json!("{% filter replace %}{% endfilter %}"), "", 1, "there is no filter `replace`"),
        (json!("{% if x is not shouting %}{% endif %}"), "", 1, "there is no test `shouting`"),
        (json!("{{ status }}"), "", 1, "`status` in a template for requests"),
        (json!("{{ request.model }}"), "", 1, "`request` in a template for requests"),
        (json!(""), "", 1, "a template that makes no JSON"),
        (json!("{\n\"a\": query\n}"), "", 2, "a template that makes no JSON"),
        (json!("{% include 'other' %}"), "", 1, "syntax error"),
        (json!("{% macro x() %}{% endmacro %}"), "", 1, "syntax error"),
        (json!(format!("{{{{ x }}}}{}", " ".repeat(MAX_TEMPLATE_BYTES))), "", 1, "a template that is too large"),
        (json!(vec!["{{ x }}"; MAX_TEXTS + 1]), "/256", 1, "a template that is too large"),
    ];
    for (template, pointer, line, found) in rows {
        let (at, mistake) = Template::compile(&template, Side::Request).unwrap_err().remove(0);
        assert_eq!((at.as_str(), mistake.line), (pointer, line), "{mistake:?}");
        assert!(mistake.found.starts_with(found), "{mistake:?}");
        assert!(mistake.column >= 1 && !mistake.help.is_empty());
    }
    let (_, mistake) = Template::compile(&json!("{\n \"é\": {{ x | shout }}}"), Side::Request).unwrap_err().remove(0);
    assert_eq!((mistake.line, mistake.column), (2, 14));
    let all = json!({"a": "{{ x | shout }}", "b": "{{ x }}", "c": ["{{ status }}"]});
    let places = Template::compile(&all, Side::Request).unwrap_err().into_iter().map(|(at, _)| at);
    assert_eq!(places.collect::<Vec<_>>(), ["/a", "/c/0"]);
}

#[test]
fn strings_and_comments_within_tags_are_no_words() {
    let rows = [
        json!(r#"{{ "a | shout" ~ 'x is loud' }}"#),
        json!(r#"{{ {"a": {"b": "}}"}} }}"#),
        json!("{# \"{{ x | shout }} #}1"),
        json!("{% raw %}\"{{ x | shout }}\"{% endraw %}"),
        json!(r#"{"a \" b": {{ x | default("\"") }}}"#),
        json!("{%- filter upper -%}{%- endfilter -%}1"),
    ];
    for template in rows {
        compiled(&template, Side::Request);
    }
}

#[test]
fn every_filter_and_test_that_is_offered_is_there() {
    let environment = engine::environment();
    let mut state = environment.empty_state();
    for filter in lint::FILTERS {
        let error = state.apply_filter(filter, &[]).err().map(|error| error.kind());
        assert_ne!(error, Some(minijinja::ErrorKind::UnknownFilter), "{filter}");
    }
    for test in lint::TESTS {
        let error = state.perform_test(test, &[]).err().map(|error| error.kind());
        assert_ne!(error, Some(minijinja::ErrorKind::UnknownTest), "{test}");
    }
}

#[test]
fn mentions_are_what_the_contexts_must_hold() {
    let template = json!({
        "a": "{{ contexts.user.tier }} {{ contexts.session.region | default('x') }}",
        "b": "{% set c = contexts.user %}{{ c.age }}",
        "c": "{{ contexts.user.tier }} {{ user }}",
    });
    let found: Vec<Mention> = compiled(&template, Side::Request).mentions().cloned().collect();
    let attribute = |kind: &str, name: &str| Mention::Attribute(kind.into(), name.into());
    assert_eq!(found, [Mention::Kind("user".into()), attribute("session", "region"), attribute("user", "tier")]);
    let whole = compiled(&json!("{{ contexts | tojson }}"), Side::Request);
    assert_eq!(whole.mentions().collect::<Vec<_>>(), [&Mention::All]);
}

#[test]
fn answers_see_the_request_and_the_status() {
    let template = compiled(
        &json!({"model": "{{ request.model }}", "text": "{{ response }}", "status": "{{ status }}"}),
        Side::Response,
    );
    let (body, asked) = (json!({"response": "yes"}), json!({"model": "m"}));
    let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Control, answer: Some((Some(&asked), 200)) };
    assert_eq!(template.render(&given, LIMIT), Ok(json!({"model": "m", "text": "yes", "status": 200})));
    let given = Given { answer: Some((None, 200)), ..given };
    assert!(matches!(template.render(&given, LIMIT), Err(Failure::Template(_))));
}

#[test]
fn the_merge_patch_has_the_last_word() {
    let body = json!({"model": "a", "n": 1, "stream": false, "messages": [1, 2]});
    let merge = json!({"model": "b", "stream": null, "extra": {"x": null, "y": 1}});
    let rewrite = |body: &Body, given: &Value| {
        let given = Given { body: given, facts: &[], route: "r", arm: Arm::Control, answer: None };
        body.rewrite(&given, LIMIT).map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let merged = Body { template: None, merge: Some(merge.clone()) };
    let expected = r#"{"model":"b","n":1,"messages":[1,2],"extra":{"y":1}}"#;
    assert_eq!(rewrite(&merged, &body).as_deref(), Ok(expected));
    let template = Some(compiled(&json!({"model": "{{ model }}!", "stream": true}), Side::Request));
    let both = Body { template, merge: Some(merge) };
    assert_eq!(rewrite(&both, &body).as_deref(), Ok(r#"{"model":"b","extra":{"y":1}}"#));
    let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Control, answer: None };
    assert_eq!(merged.rewrite(&given, 10), Err(Failure::TooLarge));
}

/// RFC 7396, appendix A.
#[test]
fn merge_patches_hold_the_examples_of_the_rfc() {
    let rows = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (body, patch, expected) in rows {
        let rewrite = Body { template: None, merge: Some(patch.clone()) };
        let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Control, answer: None };
        let found = rewrite.rewrite(&given, LIMIT).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&found).unwrap(), expected, "{body} {patch}");
    }
}

#[test]
fn documents_are_json_of_some_depth() {
    assert_eq!(document(b"{\"a\": 1}"), Ok(json!({"a": 1})));
    for bytes in [&b""[..], b"{", b"not", b"\xff", b"{} {}", b"NaN"] {
        assert_eq!(document(bytes), Err(Failure::NotJson));
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(document(deep(127).as_bytes()).is_ok());
    assert_eq!(document(deep(128).as_bytes()), Err(Failure::NotJson));
    // What a template nests around a deep body is no longer read, and no stack runs out.
    let body = document(deep(127).as_bytes()).unwrap();
    assert_eq!(rendered(&json!("[{{ body }}]"), &body), Err(Failure::Output));
}

#[test]
fn streams_are_asked_for_by_true_alone() {
    let rows = [
        (json!({"stream": true}), true),
        (json!({"stream": false}), false),
        (json!({"stream": "true"}), false),
        (json!({}), false),
        (json!([true]), false),
    ];
    for (body, expected) in rows {
        assert_eq!(asks_for_stream(&body), expected, "{body}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[\"\\\\{}%\\[\\],:]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec(("(query|messages|body|stream|[a-z\"]{0,3})", inner), 0..6)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_in_json_or_a_failure_comes_out(body in any_json(), limit in 0_usize..2_000) {
        let templates = [
            json!(r#"{"query": {{ query }}, "mode": "hybrid"}"#),
            json!("[{% for m in messages %}{{ m.content }}{% if not loop.last %},{% endif %}{% endfor %}]"),
            json!({"query": "Answer: {{ query }}", "history": "{{ messages | default([]) }}"}),
            json!({"all": "{{ body }}", "text": "{{ body }}!"}),
        ];
        for template in templates {
            let rewrite = Body { template: Some(compiled(&template, Side::Request)), merge: Some(json!({"x": 1})) };
            let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Control, answer: None };
            if let Ok(bytes) = rewrite.rewrite(&given, limit) {
                prop_assert!(bytes.len() <= limit);
                prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
            }
        }
    }

    #[test]
    fn a_placeholder_is_the_value_itself(body in any_json()) {
        for template in [json!("{{ body }}"), json!({"a": "{{ body }}"}), json!("[{{ body }}]")] {
            let found = rendered(&template, &body);
            let expected = match template.as_str() {
                Some(text) if text.starts_with('[') => json!([body]),
                Some(_) => body.clone(),
                None => json!({"a": body}),
            };
            prop_assert_eq!(found, Ok(expected));
        }
    }

    #[test]
    fn no_source_makes_the_compiler_panic(source in "[ {}%#\"'|a-z.\\-\\\\é\n]{0,60}") {
        for template in [json!(source), json!({ "a": source })] {
            if let Ok(template) = Template::compile(&template, Side::Response) {
                let body = json!({"a": [1, "x"]});
                let answer = Some((Some(&body), 200));
                let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Control, answer };
                let _ = template.render(&given, 1_000);
            }
        }
    }
}
