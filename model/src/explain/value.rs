//! The value that is explained: a row `γ` over the logits, `f = Σ_c γ_c h_c`.

use crate::error::ModelError;
use crate::pass::arg_max;

/// What is explained of a sample's logits `h`, where `y` is the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `h_y`
    Logit,
    /// `h_y`, and 0 where it is negative.
    Relu,
    /// `h_y − Σ_c h_c / C`: what a common shift of the logits, which softmax does not see, does not change.
    Centred,
    /// `h_y` less the largest other logit, the first of equals.
    RunnerUp,
    /// `h_y` less the mean of the other logits, weighted by their softmax.
    Contrast,
    /// Rows `[N, C]`, one for each sample that is explained; there is no target.
    Rows(Vec<f32>),
}

/// The logits of a task that are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The largest one.
    Predicted,
    /// The label's.
    True,
    /// The largest one that is not the label's.
    RunnerUp,
    /// That of one class.
    Class(usize),
    /// Each in turn, over one forward pass.
    All,
}

/// What is explained: a value of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Whose value; without meaning for [`Value::Rows`].
    pub target: Target,
    /// The value.
    pub value: Value,
}

impl From<Target> for Explained {
    /// The target's logit.
    fn from(target: Target) -> Explained {
        Explained { target, value: Value::Logit }
    }
}

impl Value {
    /// The names that [`Value::by_name`] knows.
    pub const NAMES: [&'static str; 5] = ["logit", "relu", "centred", "runner-up", "contrast"];

    /// The value of that name.
    pub fn by_name(name: &str) -> Option<Value> {
        Some(match name {
            "logit" => Value::Logit,
            "relu" => Value::Relu,
            "centred" => Value::Centred,
            "runner-up" => Value::RunnerUp,
            "contrast" => Value::Contrast,
            _ => return None,
        })
    }

    /// The value for a target, from the logits of a sample; none for rows.
    ///
    /// ```
    /// use model::explain::Value;
    /// assert_eq!(Value::RunnerUp.of(&[-3.0, -1.0, -2.5], 1), Some(1.5));
    /// ```
    pub fn of(&self, logits: &[f32], target: usize) -> Option<f32> {
        let mut gamma = vec![0.0; logits.len()];
        (!matches!(self, Value::Rows(_))).then(|| self.row(0, logits, target, &mut gamma))
    }

    /// Checks that the value exists for `n` samples of so many classes.
    pub(crate) fn check(&self, n: usize, classes: usize) -> Result<(), ModelError> {
        match self {
            Value::Logit | Value::Relu | Value::Centred => Ok(()),
            Value::RunnerUp | Value::Contrast if classes > 1 => Ok(()),
            Value::RunnerUp | Value::Contrast => {
                let (what, found) = ("the number of classes", classes as f64);
                Err(ModelError::Range { what, found, expected: "at least 2, so that there is another logit" })
            }
            Value::Rows(rows) if rows.len() != n * classes => {
                let (found, expected) = (vec![rows.len()], vec![n, classes]);
                Err(ModelError::TensorShape { name: "γ".to_owned(), found, expected })
            }
            Value::Rows(rows) => match rows.iter().position(|x| !x.is_finite()) {
                Some(at) => {
                    Err(ModelError::NotFinite { place: format!("row {} of γ", at / classes.max(1)) })
                }
                None => Ok(()),
            },
        }
    }

    /// Writes the row of sample `i` and gives `f`, which is summed in f64. The named values are sums of differences of
    /// logits, so that rounding makes none negative that is not.
    pub(crate) fn row(&self, i: usize, logits: &[f32], target: usize, gamma: &mut [f32]) -> f32 {
        let h = |class: usize| f64::from(logits[class]);
        let more = |class: usize| h(target) - h(class);
        gamma.fill(0.0);
        match self {
            Value::Logit => {
                gamma[target] = 1.0;
                logits[target]
            }
            Value::Relu => {
                gamma[target] = if logits[target] > 0.0 { 1.0 } else { 0.0 };
                logits[target].max(0.0)
            }
            Value::Centred => {
                let share = 1.0 / logits.len() as f64;
                gamma.fill(-share as f32);
                gamma[target] = (1.0 - share) as f32;
                ((0..logits.len()).map(more).sum::<f64>() * share) as f32
            }
            Value::RunnerUp => {
                let other = strongest_other(logits, target);
                gamma[target] = 1.0;
                gamma[other] = -1.0;
                more(other) as f32
            }
            Value::Contrast => {
                let most = h(strongest_other(logits, target));
                let others = || (0..logits.len()).filter(|&class| class != target);
                let weight = |class: usize| (h(class) - most).exp();
                let sum: f64 = others().map(weight).sum();
                others().for_each(|class| gamma[class] = -(weight(class) / sum) as f32);
                gamma[target] = 1.0;
                others().map(|class| weight(class) / sum * more(class)).sum::<f64>() as f32
            }
            Value::Rows(rows) => {
                gamma.copy_from_slice(&rows[i * logits.len()..][..logits.len()]);
                gamma.iter().zip(logits).map(|(&g, &h)| f64::from(g) * f64::from(h)).sum::<f64>() as f32
            }
        }
    }
}

impl Target {
    /// The classes that are explained, one list of all samples for each explanation.
    pub(crate) fn classes(
        self,
        logits: &[f32],
        classes: usize,
        labels: impl Iterator<Item = usize>,
    ) -> Vec<Vec<usize>> {
        let rows = || logits.chunks_exact(classes);
        match self {
            Target::Predicted => vec![rows().map(arg_max).collect()],
            Target::True => vec![labels.collect()],
            Target::RunnerUp => {
                vec![rows().zip(labels).map(|(h, label)| strongest_other(h, label)).collect()]
            }
            Target::Class(class) => vec![rows().map(|_| class).collect()],
            Target::All => (0..classes).map(|class| rows().map(|_| class).collect()).collect(),
        }
    }
}

/// Index of the largest logit but that of `class`, the first of equals.
fn strongest_other(logits: &[f32], class: usize) -> usize {
    let others = (0..logits.len()).filter(|&i| i != class);
    let larger = |best: usize, i| if logits[i] > logits[best] { i } else { best };
    others.reduce(larger).unwrap_or(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_up_is_the_strongest_of_the_others() {
        assert_eq!(strongest_other(&[1.0, 5.0, 3.0], 1), 2);
        assert_eq!(strongest_other(&[1.0, 5.0, 3.0], 0), 1);
        assert_eq!(strongest_other(&[2.0, 2.0, 2.0], 0), 1);
        assert_eq!(strongest_other(&[2.0], 0), 0);
    }

    fn row(value: &Value, logits: &[f32], target: usize) -> (f32, Vec<f32>) {
        let mut gamma = vec![7.0; logits.len()];
        (value.row(0, logits, target, &mut gamma), gamma)
    }

    #[test]
    fn every_value_is_its_row_times_the_logits() {
        let logits = [-3.0, -1.0, -2.5, -1.5];
        for name in Value::NAMES {
            let value = Value::by_name(name).expect("a name of the list");
            for target in 0..4 {
                let (f, gamma) = row(&value, &logits, target);
                let sum: f32 = gamma.iter().zip(logits).map(|(g, h)| g * h).sum();
                assert!((f - sum).abs() < 1e-6, "{name} {target}: {f} {sum}");
                let shifts = matches!(value, Value::Logit | Value::Relu);
                assert!(shifts || gamma.iter().sum::<f32>().abs() < 1e-6, "{name}: {gamma:?}");
            }
        }
        assert_eq!(row(&Value::Logit, &logits, 2), (-2.5, vec![0.0, 0.0, 1.0, 0.0]));
        assert_eq!(row(&Value::Relu, &logits, 2), (0.0, vec![0.0; 4]));
        assert_eq!(row(&Value::RunnerUp, &logits, 1), (0.5, vec![0.0, 1.0, 0.0, -1.0]));
        assert_eq!(row(&Value::Centred, &logits, 1), (1.0, vec![-0.25, 0.75, -0.25, -0.25]));
        assert_eq!(row(&Value::Rows(vec![2.0, 0.0, 0.0, 1.0]), &logits, 0).0, -7.5);
    }

    #[test]
    fn differences_of_logits_are_not_negative_for_the_predicted_class() {
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 24) as f32
        };
        for round in 0..200 {
            // Equal logits, nearly equal ones, large ones, and negative ones.
            let (scale, shift) = ([0.0, 1e-6, 1.0, 1e4][round % 4], [0.0, 37.3, -1e3][round % 3]);
            let logits: Vec<f32> = (0..10).map(|_| shift + scale * draw()).collect();
            for value in [Value::Centred, Value::RunnerUp, Value::Contrast] {
                let (f, gamma) = row(&value, &logits, arg_max(&logits));
                assert!(f >= 0.0 && gamma.iter().all(|g| g.is_finite()), "{value:?} {logits:?}: {f}");
            }
        }
    }

    #[test]
    fn values_that_do_not_exist_are_refused() {
        assert!(Value::RunnerUp.check(3, 1).is_err() && Value::Contrast.check(3, 1).is_err());
        assert!(Value::Centred.check(3, 1).is_ok());
        assert!(Value::Rows(vec![0.0; 5]).check(2, 3).is_err());
        let error = Value::Rows(vec![0.0, 0.0, f32::NAN, 0.0]).check(2, 2).expect_err("not finite");
        assert!(error.to_string().contains("row 1"), "{error}");
    }
}
