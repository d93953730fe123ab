//! Tests of everything between a text and a `Config`.

use std::collections::BTreeMap;

use super::*;

const EXAMPLE: &str = include_str!("../../../gateway.toml");

#[test]
fn the_example_is_right() {
    let loaded = load_text(EXAMPLE, "gateway.toml", &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, []);
}
