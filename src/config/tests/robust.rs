//! Whatever a file holds, the loader answers.

use proptest::prelude::*;

use super::*;

/// Loads, renders and forgets: only a panic fails.
fn survives(text: &str) {
    let environment = variables(&[("A", "x"), ("POINTSMAN__LISTEN__THREADS", text), ("POINTSMAN__X", text)]);
    for environment in [BTreeMap::new(), environment] {
        let diagnostics = match load_text(text, "gateway.toml", &environment) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report.diagnostics,
        };
        let _ = report::render(&diagnostics, report::Style::Coloured);
        let _: Vec<_> = diagnostics.iter().map(Diagnostic::to_json).collect();
    }
}

/// Pieces of files, right and wrong, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[routes.r]\n".to_owned()),
        Just("[backends.a]\n".to_owned()),
        Just("[[routes.r.rollout]]\n".to_owned()),
        Just("[profiles.p.listen]\n".to_owned()),
        Just("url = \"\"\n".to_owned()),
        Just(
            "[segments]\nx = { segment = \"x\" }\ny = { any = [{}, 1], user.key = { regex = \"(\", gt = [[]] } }\n"
                .to_owned()
        ),
        Just("eligible = { not = { not = {} }, segment = 1, a.b.c.d = 1, \".\" = [] }\n".to_owned()),
        Just("rules = [{ if = { user.key = [] } }, {}]\n".to_owned()),
        Just("urls = [1, \"\", {}, { url = 1 }]\n".to_owned()),
        Just("headers = { \"ä\" = [], x = { file = \"\" } }\n".to_owned()),
        Just("key = [{}, 1, { header = 1 }]\n".to_owned()),
        Just("salt = \"${A}${B:-}$$\"\n".to_owned()),
        Just("methods = [\"\", {}]\n".to_owned()),
        Just(FULL.to_owned()),
        "[a-z_]{1,12} = (\"[ -~]{0,8}\"|-?[0-9]{1,25}|true|nan|\\[\\]|\\{\\}|1979-05-27)\n",
        "\\[[a-z.\"$ä]{0,12}\\]\n",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The example with some of its bytes replaced.
fn damaged() -> impl Strategy<Value = String> {
    proptest::collection::vec((0..EXAMPLE.len(), any::<u8>()), 1..20).prop_map(|changes| {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_pieces(text in pieces()) {
        survives(&text);
    }

    #[test]
    fn any_damage(text in damaged()) {
        survives(&text);
    }
}

#[test]
fn deep_nesting() {
    const DEPTH: usize = 10_000;
    survives(&format!("x = {}", "[".repeat(DEPTH)));
    survives(&format!("x = {}", "{a=".repeat(DEPTH)));
    survives(&format!("[{}]", vec!["a"; DEPTH].join(".")));
    survives(&format!("{}=1", vec!["a"; DEPTH].join(".")));
}
