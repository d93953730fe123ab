//! A condition clause by clause, for people: what was found, and whether it holds.

use super::{Clause, Facts, Truth};

/// One clause of a condition with what came of it. A condition is the list of its clauses from the
/// outside to the inside; `depth` tells what belongs to what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Examined {
    /// How deep it lies, from 0.
    pub depth: usize,
    /// `all`, `any`, `not`, `segment NAME`, or the operator of a comparison.
    pub operator: String,
    /// The attribute that is compared, for example `user.tier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operand: Option<String>,
    /// The value that was found; `None` of a comparison means that it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Whether it holds.
    pub result: Truth,
}

impl Clause {
    /// Every clause with its result, none left out because another one had decided.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<Examined> {
        let mut examined = Vec::new();
        self.examine(0, facts, &mut examined);
        examined
    }

    fn examine(&self, depth: usize, facts: &Facts<'_>, examined: &mut Vec<Examined>) {
        let result = self.evaluate(facts);
        let plain =
            |operator: String| Examined { depth, operator, attribute: None, operand: None, found: None, result };
        let below: &[Self] = match self {
            Self::All(clauses) => {
                examined.push(plain("all".to_owned()));
                clauses
            }
            Self::Any(clauses) => {
                examined.push(plain("any".to_owned()));
                clauses
            }
            Self::Not(clause) => {
                examined.push(plain("not".to_owned()));
                std::slice::from_ref(&**clause)
            }
            Self::Segment(segment) => {
                examined.push(plain(format!("segment {}", segment.name)));
                std::slice::from_ref(&segment.clause)
            }
            Self::Attribute { slot, name, predicate } => {
                examined.push(Examined {
                    attribute: Some(name.to_string()),
                    operand: Some(predicate.operand().to_string()),
                    found: facts.get(*slot).and_then(Option::as_ref).map(ToString::to_string),
                    ..plain(predicate.operator().as_str().to_owned())
                });
                &[]
            }
        };
        for clause in below {
            clause.examine(depth + 1, facts, examined);
        }
    }
}
