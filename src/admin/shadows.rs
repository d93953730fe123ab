//! What a route's copies tell of the two arms.

use serde::Serialize;

use super::Console;
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::pairs::{Pairs, WinRate};
use crate::domain::phase::Phase;
use crate::live::RouteState;
use crate::live::shadows::Figures;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RouteShadow")]
pub(super) struct ShadowView {
    /// The percentage in effect.
    percent: f64,
    /// Copies that were sent, since the process began; and those of them that failed.
    copies: u64,
    failures: u64,
    control: ArmFigures,
    candidate: ArmFigures,
    /// Verdicts of the present phase, also from before a restart.
    pairs: PairsView,
}

/// Of the requests whose copies were answered to the end.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RouteShadowArm")]
struct ArmFigures {
    answers: u64,
    mean_ms: Option<f64>,
    bytes: u64,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RoutePairs")]
struct PairsView {
    #[serde(flatten)]
    pairs: Pairs,
    /// `null` as long as nothing but ties is known.
    win_rate: Option<WinRate>,
}

/// `None` for a route without copies.
pub(super) fn view(console: &Console, state: &RouteState, phase: Phase) -> Option<ShadowView> {
    let percent = state.shadow_percent();
    let figures = state.shadow.figures().clone();
    let pairs = console.evidence.lock().pairs(state.id, |other| other == phase, |name| console.live.metric_id(name));
    let copies = figures.outcomes.iter().sum();
    if percent == 0.0 && copies == 0 && pairs == Pairs::default() {
        return None;
    }
    let failed = Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure());
    let failures = failed.map(|outcome| figures.outcomes[outcome.index()]).sum();
    let [control, candidate] = Arm::ALL.map(|arm| arm_figures(&figures, arm));
    let pairs = PairsView { pairs, win_rate: pairs.win_rate() };
    Some(ShadowView { percent, copies, failures, control, candidate, pairs })
}

fn arm_figures(figures: &Figures, arm: Arm) -> ArmFigures {
    let durations = &figures.durations[arm.index()];
    let answers = durations.count();
    let mean_ms = (answers > 0).then(|| durations.sum_micros as f64 / 1e3 / answers as f64);
    ArmFigures { answers, mean_ms, bytes: figures.bytes[arm.index()] }
}
