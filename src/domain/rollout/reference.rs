//! A rollout as a table of words: what each verb does in each state. It knows no times, gates or guards, and shares
//! no code with what it is held against.

/// Of the usual plan: internal, ten, half, all.
const LAST: usize = 3;
const HALF: usize = 2;

type Stage = Option<usize>;

/// The state's word (or `refused`, or `already`), the stage, and whether the kill switch is thrown, after a verb.
pub(super) fn after(state: &'static str, stage: Stage, disabled: bool, verb: &str) -> (&'static str, Stage, bool) {
    let stays = |word| (word, stage, disabled);
    let goes = |word, stage| (word, stage, disabled);
    let next = match stage {
        Some(LAST) => goes("watching", stage),
        Some(stage) => goes("running", Some(stage + 1)),
        None => goes("running", Some(0)),
    };
    match (verb, state) {
        ("restart", _) => goes("running", Some(0)),
        ("disable", _) => {
            if disabled {
                stays("already")
            } else {
                (state, stage, true)
            }
        }
        ("enable", _) => {
            if disabled {
                (state, stage, false)
            } else {
                stays("already")
            }
        }
        ("rollback", "rolled_back") => stays("already"),
        ("rollback", _) => goes("rolled_back", Some(stage.unwrap_or(0))),
        (_, "rolled_back") => stays("refused"),
        ("start", "draft") | ("promote", "draft") => goes("running", Some(0)),
        ("start", _) => stays("already"),
        ("pause" | "resume" | "step_back" | "approve", "draft") => stays("refused"),
        ("pause", "held") | ("resume", "running" | "watching") | ("promote", "completed") => stays("already"),
        ("pause", _) => goes("held", stage),
        ("resume", "held") => goes("running", stage),
        ("resume", _) => stays("refused"),
        ("approve", "awaiting_approval") | ("promote", "running" | "held" | "awaiting_approval") => next,
        ("approve", _) => stays("refused"),
        ("promote", _) => goes("completed", stage),
        ("step_back", _) => goes("held", Some(stage.unwrap_or(0).saturating_sub(1))),
        ("jump half", "running") if stage == Some(HALF) => stays("already"),
        ("jump half", _) => goes("running", Some(HALF)),
        _ => unreachable!("{verb} in {state}"),
    }
}
