//! What is assumed of the metrics that a route's guards and gates look at: the usual, or what somebody says.

use anyhow::{Context as _, bail};

use super::Args;
use crate::config::model::{Config, MetricRef, Route};
use crate::domain::Arm;
use crate::domain::evidence::Measured;
use crate::domain::guard::{Against, CALLED, Comparison, Expression, Metrics, Unit, parse};
use crate::domain::metric::{BuiltIn, Kind};
use crate::domain::rehearsal::{Crowd, Made, Nature, World};

/// What is assumed of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assumed {
    /// As it is called.
    pub(super) name: String,
    /// How many of the unit in which people are told it one of what is added up is.
    pub(super) scale: f64,
    /// The metric; the candidate's mean is the effect's.
    pub(super) made: Made,
}

/// Of the metrics that guards and gates look at.
pub(super) fn all(args: &Args, config: &Config, route: &Route, metrics: &dyn Metrics) -> anyhow::Result<Vec<Assumed>> {
    let mut all: Vec<Assumed> = Vec::new();
    // Catastrophes are looked for in any case.
    put(&mut all, config, Measured::BuiltIn(BuiltIn::AttemptErrors), false);
    let conditions = route.guards.iter().map(|guard| &guard.condition);
    for condition in conditions.chain(route.rollout.gates.iter().flatten()) {
        let Some(figure) = condition.figure() else { continue };
        for arm in Arm::ALL {
            let parts = metrics.parts(figure.metric, arm);
            for metric in [Some(parts.over), parts.under].into_iter().flatten() {
                put(&mut all, config, metric, figure.statistic.quantile().is_some());
            }
        }
    }
    for text in &args.means {
        let (metric, mean, deviation) = given(text, config)?;
        for assumed in concerned(&mut all, metric, text)? {
            assumed.made.means = [mean / assumed.scale; 2];
            if let Some(deviation) = deviation {
                assumed.deviate(deviation / assumed.scale);
            }
        }
    }
    effects(args, config, &mut all)?;
    all.iter().try_for_each(Assumed::check)?;
    Ok(all)
}

/// Takes over what the candidate is said to have.
pub(super) fn effects(args: &Args, config: &Config, all: &mut [Assumed]) -> anyhow::Result<()> {
    for text in &args.effects {
        let (metric, mean, deviation) = given(text, config)?;
        if deviation.is_some() {
            bail!("--effect {text}: it takes a mean alone");
        }
        for assumed in concerned(all, metric, text)? {
            assumed.made.means[1] = mean / assumed.scale;
        }
    }
    Ok(())
}

/// The world with equal arms, and the one with the effect if there is one.
pub(super) fn worlds(args: &Args, assumed: &[Assumed]) -> Vec<World> {
    let failures = Measured::BuiltIn(BuiltIn::AttemptErrors);
    let world = |metrics: Vec<Made>| World {
        crowd: Crowd::Returning { users: args.users, skew: args.skew },
        rate: args.rate,
        failures: metrics.iter().position(|made| made.metric == failures),
        metrics,
        between_users: args.between_users,
    };
    let made = |equal: bool| -> Vec<Made> {
        let one = |made: Made| if equal { Made { means: [made.means[0]; 2], ..made } } else { made };
        assumed.iter().map(|assumed| one(assumed.made)).collect()
    };
    let mut worlds = vec![world(made(true))];
    if !args.effects.is_empty() {
        worlds.push(world(made(false)));
    }
    worlds
}

impl Assumed {
    fn deviate(&mut self, wanted: f64) {
        self.made.nature = match self.made.nature {
            Nature::Share => Nature::Share,
            Nature::Score { .. } => Nature::Score { deviation: wanted },
            Nature::Amount { .. } => Nature::Amount { variation: wanted / self.made.means[0] },
        };
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = &self.name;
        match self.made.nature {
            Nature::Share if !self.made.means.iter().all(|mean| (0.0..=1.0).contains(mean)) => {
                bail!("{name} is a share: from 0% to 100%")
            }
            Nature::Amount { variation } if !(self.made.means.iter().all(|mean| *mean > 0.0) && variation > 0.0) => {
                bail!("{name} is an amount: its mean and deviation are above 0")
            }
            Nature::Score { deviation } if deviation < 0.0 => bail!("{name}: a deviation is not below 0"),
            Nature::Share | Nature::Amount { .. } | Nature::Score { .. } => Ok(()),
        }
    }
}

fn put(all: &mut Vec<Assumed>, config: &Config, metric: Measured, timed: bool) {
    if metric == Measured::BuiltIn(BuiltIn::Requests) {
        return;
    }
    if let Some(known) = all.iter_mut().find(|known| known.made.metric == metric) {
        known.made.timed |= timed;
        return;
    }
    let mut assumed = usual(config, metric);
    assumed.made.timed = timed;
    all.push(assumed);
}

/// What is assumed where nobody says anything.
pub(super) fn usual(config: &Config, metric: Measured) -> Assumed {
    let (name, scale, nature, mean) = match metric {
        Measured::BuiltIn(built_in) => {
            let called = CALLED.into_iter().find(|(_, metric, _)| *metric == built_in);
            let name = called.map_or(built_in.as_str(), |(name, ..)| name).to_owned();
            let (nature, mean) = match built_in {
                BuiltIn::Errors | BuiltIn::AttemptErrors | BuiltIn::Fallbacks => (Nature::Share, 0.01),
                BuiltIn::Latency | BuiltIn::AttemptLatency => (Nature::Amount { variation: 0.7 }, 300.0),
                BuiltIn::FirstByte => (Nature::Amount { variation: 0.7 }, 150.0),
                BuiltIn::Requests | BuiltIn::Served => (Nature::Score { deviation: 0.0 }, 1.0),
            };
            (name, built_in.scale(), nature, mean / built_in.scale())
        }
        Measured::Own(id) => {
            let metric = &config.metrics[usize::from(id.0)];
            let (nature, mean) = match metric.kind {
                Kind::Occurrence => (Nature::Share, 0.05),
                Kind::Count => (Nature::Amount { variation: 0.7 }, 3.0),
                Kind::Value | Kind::Ratio => (Nature::Score { deviation: 0.2 }, 0.8),
            };
            (metric.name.to_string(), 1.0, nature, mean)
        }
    };
    Assumed { name, scale, made: Made { metric, nature, means: [mean; 2], timed: false } }
}

/// The metrics that a name means: what users see of errors goes with what attempts do, and times with times.
fn concerned<'a>(all: &'a mut [Assumed], metric: MetricRef, text: &str) -> anyhow::Result<Vec<&'a mut Assumed>> {
    let wanted: Vec<Measured> = match metric {
        MetricRef::BuiltIn(BuiltIn::AttemptErrors | BuiltIn::Errors) => {
            [BuiltIn::AttemptErrors, BuiltIn::Errors].map(Measured::BuiltIn).into()
        }
        MetricRef::BuiltIn(BuiltIn::AttemptLatency | BuiltIn::Latency) => {
            [BuiltIn::AttemptLatency, BuiltIn::Latency].map(Measured::BuiltIn).into()
        }
        MetricRef::BuiltIn(metric) => vec![Measured::BuiltIn(metric)],
        MetricRef::Own(index) => {
            vec![Measured::Own(crate::domain::metric::MetricId(u16::try_from(index).unwrap_or(u16::MAX)))]
        }
    };
    let known: Vec<String> = all.iter().map(|assumed| assumed.name.clone()).collect();
    let found: Vec<_> = all.iter_mut().filter(|assumed| wanted.contains(&assumed.made.metric)).collect();
    if found.is_empty() {
        bail!("{text}: no guard or gate of the route looks at it; they look at {}", known.join(", "));
    }
    Ok(found)
}

/// A metric, a mean and perhaps a deviation, in the unit in which people are told the metric.
fn given(text: &str, config: &Config) -> anyhow::Result<(MetricRef, f64, Option<f64>)> {
    let (name, values) = text.split_once('=').with_context(|| format!("{text}: expected METRIC=MEAN"))?;
    let called = CALLED.into_iter().find(|(called, ..)| *called == name).map(|(_, metric, _)| metric);
    let own = config.metrics.iter().position(|metric| *metric.name == *name).map(MetricRef::Own);
    let built_in = called.map(MetricRef::BuiltIn);
    let metric = built_in.or(own).or_else(|| BuiltIn::parse(name).map(MetricRef::BuiltIn));
    let metric = metric.with_context(|| format!("{text}: there is no metric {name:?}"))?;
    let seconds = matches!(metric, MetricRef::Own(index) if config.metrics[index].unit == "s");
    let mut numbers = values.split(',').map(|value| number(value, seconds).with_context(|| text.to_owned()));
    let mean = numbers.next().transpose()?.with_context(|| format!("{text}: expected a mean"))?;
    let deviation = numbers.next().transpose()?;
    if numbers.next().is_some() {
        bail!("{text}: expected a mean, and perhaps a deviation");
    }
    Ok((metric, mean, deviation))
}

/// A quantity as conditions have it: `0.85`, `10%`, `400ms`.
fn number(text: &str, seconds: bool) -> anyhow::Result<f64> {
    let (sign, text) = text.trim().strip_prefix('-').map_or((1.0, text.trim()), |rest| (-1.0, rest));
    let Ok(Expression::Comparison(Comparison { against: Against::Number(quantity), confidence: None, .. })) =
        parse(&format!("x > {text}"))
    else {
        bail!("{text:?}: expected a number such as 0.85, 10% or 400ms");
    };
    let factor = if quantity.unit == Unit::Time && seconds { 1e-3 } else { 1.0 };
    Ok(sign * quantity.number * factor)
}
