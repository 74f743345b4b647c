//! The method of explanation, as options.

use crate::error::UsageError;
use crate::io::bounds::{POINTS, bounded};
use crate::io::file;
use anyhow::{Result, bail, ensure};
use clap::Args;
use model::ModelError;
use model::explain::{Composite, Convention, LayerRule, Method, Numbers};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The method of explanation.
#[derive(Clone, Debug, Default, Args)]
pub struct MethodArgs {
    /// Rules by name: deep-taylor, lrp, epsilon-plus, epsilon-gamma-box, epsilon-plus-flat, epsilon-alpha2-beta1, z-plus,
    /// w-square or flat; or gradients: sensitivity, simple-taylor (gradient-input is another name), guided-backprop,
    /// integrated-gradients, smooth-grad
    #[arg(long, value_name = "NAME", default_value = "deep-taylor")]
    pub method: String,
    /// Rule of the pixels instead of the method's: z-beta, w-square, flat or epsilon
    #[arg(long, value_name = "RULE")]
    pub first: Option<String>,
    /// Rule of all layers between: z-plus, alpha-beta, w-square, flat, epsilon or gamma
    #[arg(long, value_name = "RULE")]
    pub middle: Option<String>,
    /// Rule of the layer of the logits, as for --middle
    #[arg(long, value_name = "RULE")]
    pub last: Option<String>,
    /// Stabilisers and biases as another program has them: zennit, captum, author-code [default: thesis]
    #[arg(long, value_name = "NAME")]
    pub convention: Option<String>,
    /// TOML file with rules: first, convolution, middle, last; alpha, beta, epsilon, gamma
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// α of alpha-beta and lrp: weight of positive contributions; α − β = 1 [default: 2]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub alpha: Option<f32>,
    /// β of alpha-beta and lrp: weight of negative contributions [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub beta: Option<f32>,
    /// Stabiliser of the rules epsilon and gamma [default: 1e-6]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub epsilon: Option<f32>,
    /// γ of the rule gamma: how much more positive weights count [default: 0.25]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub gamma: Option<f32>,
    /// Points on the path of integrated-gradients, or noisy inputs of smooth-grad [default: 32]
    #[arg(long, value_name = "N")]
    pub points: Option<usize>,
    /// Value of every pixel where the path of integrated-gradients begins [default: 0; the darkest is usually -1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub baseline: Option<f32>,
    /// Standard deviation of the noise of smooth-grad, as a share of the pixel range [default: 0.1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub noise: Option<f32>,
    /// Seed of the noise of smooth-grad [default: 0]
    #[arg(long, value_name = "N")]
    pub noise_seed: Option<u64>,
}

/// Rules by place, as a TOML file holds them; the options of the same names replace them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)] // each is documented in `MethodArgs`
pub struct RuleTable {
    pub first: Option<String>,
    /// Rule of the convolutions that do not read pixels, over `middle`.
    pub convolution: Option<String>,
    pub middle: Option<String>,
    pub last: Option<String>,
    pub alpha: Option<f32>,
    pub beta: Option<f32>,
    pub epsilon: Option<f32>,
    pub gamma: Option<f32>,
}

/// The largest file of rules.
const MAX_BYTES: u64 = 1 << 20;

impl RuleTable {
    fn read(path: &Path) -> Result<RuleTable> {
        let name = path.display();
        let refuse = |why: String| {
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            UsageError(format!("{name}: {why}"))
        };
        let bytes = file::read(path, MAX_BYTES)?;
        let text =
            String::from_utf8(bytes).map_err(|error| refuse(format!("is not UTF-8 text ({error})")))?;
        let table: RuleTable = toml::from_str(&text).map_err(|error| refuse(error.message().to_owned()))?;
        let RuleTable { first, convolution, middle, last, .. } = &table;
        let layers = [first, convolution, middle, last];
        let why = "names no layer; give a rule for first, convolution, middle or last";
        ensure!(layers.iter().any(|layer| layer.is_some()), refuse(why.to_owned()));
        Ok(table)
    }
}

fn rule(option: &str, name: &str, numbers: &Numbers) -> Result<LayerRule, UsageError> {
    LayerRule::by_name(name, numbers).ok_or_else(|| {
        UsageError(format!("{option} {name}: it must be one of {}", LayerRule::NAMES.join(", ")))
    })
}

impl MethodArgs {
    /// The method: that of the name, with the rules of the file and then those of the options in their places.
    ///
    /// # Errors
    /// [`UsageError`] if a name is unknown, a rule does not go with its inputs, or a number is invalid.
    pub fn parse(&self) -> Result<Method> {
        self.parse_over(&self.rules.as_deref().map(RuleTable::read).transpose()?.unwrap_or_default())
    }

    /// As [`MethodArgs::parse`], with this table in the place of the file's.
    ///
    /// # Errors
    /// As [`MethodArgs::parse`].
    pub fn parse_over(&self, table: &RuleTable) -> Result<Method> {
        let convention = self.convention()?;
        let defaults = Numbers { epsilon: convention.epsilon, ..Numbers::default() };
        let (alpha, beta) = match (self.alpha.or(table.alpha), self.beta.or(table.beta)) {
            (Some(alpha), Some(beta)) => (alpha, beta),
            (Some(alpha), None) => (alpha, alpha - 1.0),
            (None, Some(beta)) => (beta + 1.0, beta),
            (None, None) => (defaults.alpha, defaults.beta),
        };
        let numbers = Numbers {
            alpha,
            beta,
            epsilon: self.epsilon.or(table.epsilon).unwrap_or(defaults.epsilon),
            gamma: self.gamma.or(table.gamma).unwrap_or(defaults.gamma),
            points: self.points.unwrap_or(defaults.points),
            baseline: self.baseline.unwrap_or(defaults.baseline),
            noise: self.noise.unwrap_or(defaults.noise),
            noise_seed: self.noise_seed.unwrap_or(defaults.noise_seed),
        };
        self.check_numbers(numbers)?;
        let method = Method::by_name(&self.method, &numbers).ok_or_else(|| {
            let known = Method::names().collect::<Vec<_>>().join(", ");
            UsageError(format!("--method {}: it must be one of {known}", self.method))
        })?;
        let Method::Relevance(mut composite) = method else {
            let places = [&self.first, &self.middle, &self.last];
            ensure!(
                *table == RuleTable::default() && places.iter().all(|place| place.is_none()),
                UsageError(format!(
                    "--method {}: a gradient method has no rules; leave out --first, --middle, --last and --rules",
                    self.method
                ))
            );
            ensure!(
                convention.rules == Convention::THESIS.rules && !convention.signed,
                UsageError(format!(
                    "--convention {}: --method {} has no rules",
                    convention.name, self.method
                ))
            );
            self.refuse_unused(table, &[])?;
            self.refuse_unused_of_gradients(method)?;
            return Ok(method);
        };
        let mut set =
            |option: &str, name: &Option<String>, places: &[fn(&mut Composite) -> &mut LayerRule]| {
                let Some(name) = name else { return Ok(()) };
                let rule = rule(option, name, &numbers)?;
                places.iter().for_each(|place| *place(&mut composite) = rule);
                Ok::<(), UsageError>(())
            };
        let of_file = |place: &str| match &self.rules {
            Some(path) => format!("{}: {place}", path.display()),
            None => place.to_owned(),
        };
        set(&of_file("first"), &table.first, &[|of| &mut of.first])?;
        set(&of_file("middle"), &table.middle, &[|of| &mut of.convolution, |of| &mut of.middle])?;
        set(&of_file("convolution"), &table.convolution, &[|of| &mut of.convolution])?;
        set(&of_file("last"), &table.last, &[|of| &mut of.last])?;
        set("--first", &self.first, &[|of| &mut of.first])?;
        set("--middle", &self.middle, &[|of| &mut of.convolution, |of| &mut of.middle])?;
        set("--last", &self.last, &[|of| &mut of.last])?;
        composite.convention = convention;
        composite.check().map_err(|error| usage_error(&numbers, &error))?;
        let Composite { first, convolution, middle, last, .. } = composite;
        self.refuse_unused(table, &[first, convolution, middle, last])?;
        self.refuse_unused_of_gradients(method)?;
        Ok(Method::Relevance(composite))
    }

    /// The convention that is named.
    ///
    /// # Errors
    /// [`UsageError`] if there is none of that name.
    pub fn convention(&self) -> Result<Convention, UsageError> {
        let Some(name) = &self.convention else { return Ok(Convention::THESIS) };
        Convention::by_name(name).ok_or_else(|| {
            let known = Convention::ALL.map(|convention| convention.name).join(", ");
            UsageError(format!("--convention {name}: it must be one of {known}"))
        })
    }

    /// Refuses a number that none of the rules reads, whether it is an option or in the file.
    fn refuse_unused(&self, table: &RuleTable, rules: &[LayerRule]) -> Result<(), UsageError> {
        let weights = rules.iter().any(|rule| matches!(rule, LayerRule::AlphaBeta { .. }));
        let gamma = rules.iter().any(|rule| matches!(rule, LayerRule::Gamma { .. }));
        let epsilon = gamma || rules.iter().any(|rule| matches!(rule, LayerRule::Epsilon { .. }));
        let of_lrp = "--method lrp and to the rule alpha-beta";
        for (name, option, in_file, used, belongs) in [
            ("alpha", self.alpha, table.alpha, weights, of_lrp),
            ("beta", self.beta, table.beta, weights, of_lrp),
            ("epsilon", self.epsilon, table.epsilon, epsilon, "the rules epsilon and gamma"),
            ("gamma", self.gamma, table.gamma, gamma, "the rule gamma"),
        ] {
            if let Some(value) = option.or(in_file).filter(|_| !used) {
                return Err(UsageError(format!(
                    "--{name} {value}: {} has none; it belongs to {belongs}",
                    self.method
                )));
            }
        }
        Ok(())
    }

    /// Refuses a number of a method that averages gradients, where the method is another one.
    fn refuse_unused_of_gradients(&self, method: Method) -> Result<(), UsageError> {
        let (path, noise) =
            (matches!(method, Method::IntegratedGradients(_)), matches!(method, Method::SmoothGrad(_)));
        for (given, used, option, belongs) in [
            (self.points.is_some(), path || noise, "points", "integrated-gradients and smooth-grad"),
            (self.baseline.is_some(), path, "baseline", "integrated-gradients"),
            (self.noise.is_some(), noise, "noise", "smooth-grad"),
            (self.noise_seed.is_some(), noise, "noise-seed", "smooth-grad"),
        ] {
            if given && !used {
                let method = &self.method;
                return Err(UsageError(format!(
                    "--{option}: {method} has none; it belongs to --method {belongs}"
                )));
            }
        }
        Ok(())
    }

    /// Numbers that were given are checked also where no rule reads them.
    fn check_numbers(&self, numbers: Numbers) -> Result<()> {
        let Numbers { epsilon, gamma, baseline, noise, .. } = numbers;
        bounded("--points", numbers.points, POINTS)?;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            bail!(UsageError(format!("--epsilon {epsilon}: it must be finite and above 0")));
        }
        if !(gamma.is_finite() && gamma >= 0.0) {
            bail!(UsageError(format!("--gamma {gamma}: it must be finite and at least 0")));
        }
        if !baseline.is_finite() {
            bail!(UsageError(format!("--baseline {baseline}: it must be finite")));
        }
        if !(noise.is_finite() && noise >= 0.0) {
            bail!(UsageError(format!("--noise {noise}: it must be finite and at least 0")));
        }
        Ok(())
    }

    /// The name of the method, and what replaces its rules.
    pub fn title(&self) -> String {
        let part = |option: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" --{option} {value}"))
        };
        let rules = self.rules.as_ref().map(|path| path.display().to_string());
        let number = |option: &str, value: Option<String>| part(option, &value);
        format!(
            "{}{}{}{}{}{}{}{}{}{}",
            self.method,
            part("rules", &rules),
            part("first", &self.first),
            part("middle", &self.middle),
            part("last", &self.last),
            part("convention", &self.convention),
            number("points", self.points.map(|n| n.to_string())),
            number("baseline", self.baseline.map(|x| x.to_string())),
            number("noise", self.noise.map(|x| x.to_string())),
            number("noise-seed", self.noise_seed.map(|n| n.to_string()))
        )
    }
}

/// An error of the model as a usage error that names the option.
fn usage_error(numbers: &Numbers, error: &ModelError) -> UsageError {
    let Numbers { alpha, beta, .. } = numbers;
    UsageError(match error {
        ModelError::Range { what: "alpha − beta" | "beta", .. } => {
            format!("--alpha {alpha} --beta {beta}: α − β must be 1 and β at least 0")
        }
        ModelError::Rule { place, rule, .. } => format!("--{place} {rule}: {error}"),
        ModelError::NoRule { convention, .. } => format!("--convention {convention}: {error}"),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::explain::{Noise, Path};

    fn args() -> MethodArgs {
        MethodArgs { method: "deep-taylor".to_owned(), ..MethodArgs::default() }
    }

    #[test]
    fn options_replace_the_rules_of_the_file_and_the_file_those_of_the_method() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        std::fs::write(&path, "middle = \"gamma\"\nconvolution = \"flat\"\nlast = \"epsilon\"\ngamma = 0.5")
            .unwrap();
        let of_file = MethodArgs { rules: Some(path), ..args() };
        let Method::Relevance(found) = of_file.parse().unwrap() else { panic!("a composite") };
        let (epsilon, gamma) = (1e-6, 0.5);
        assert_eq!(found.first, LayerRule::ZBeta);
        assert_eq!(found.convolution, LayerRule::Flat);
        assert_eq!(found.middle, LayerRule::Gamma { gamma, epsilon });
        assert_eq!(found.last, LayerRule::Epsilon { epsilon });
        let options = MethodArgs { middle: Some("gamma".to_owned()), gamma: Some(0.75), ..of_file };
        let Method::Relevance(found) = options.parse().unwrap() else { panic!("a composite") };
        let both = LayerRule::Gamma { gamma: 0.75, epsilon };
        assert_eq!((found.convolution, found.middle), (both, both));
    }

    #[test]
    fn rules_that_do_not_go_together_are_refused() {
        let refused = |args: MethodArgs, word: &str| {
            let error = args.parse().unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains(word), "{word}: {error}");
        };
        let of = |text: &str| Some(text.to_owned());
        refused(MethodArgs { first: of("z-plus"), ..args() }, "--first z-plus");
        refused(MethodArgs { first: of("magic"), ..args() }, "--first magic");
        refused(MethodArgs { middle: of("z-beta"), ..args() }, "z-beta");
        refused(MethodArgs { last: of("z-beta"), ..args() }, "--last z-beta");
        let both = MethodArgs { middle: of("alpha-beta"), alpha: Some(3.0), ..args() };
        refused(MethodArgs { beta: Some(1.0), ..both }, "--alpha 3");
        refused(MethodArgs { epsilon: Some(-1.0), ..args() }, "--epsilon -1");
        refused(MethodArgs { gamma: Some(-1.0), ..args() }, "--gamma -1");
        refused(MethodArgs { method: "sensitivity".to_owned(), last: of("flat"), ..args() }, "no rules");
        let convention = |name: &str| MethodArgs { convention: of(name), ..args() };
        refused(convention("innvestigate"), "--convention innvestigate");
        refused(convention("captum"), "captum has no rule z-beta");
        refused(MethodArgs { method: "sensitivity".to_owned(), ..convention("zennit") }, "no rules");
        let captum = MethodArgs { first: of("epsilon"), ..convention("captum") };
        let Method::Relevance(found) = captum.parse().unwrap() else { panic!("a composite") };
        assert_eq!(
            (found.first, found.convention),
            (LayerRule::Epsilon { epsilon: 1e-9 }, Convention::CAPTUM)
        );
    }

    #[test]
    fn averages_of_gradients_have_their_numbers_and_no_other_method_has() {
        let of = |method: &str| MethodArgs { method: method.to_owned(), ..MethodArgs::default() };
        let gradient = Method::SimpleTaylor;
        assert_eq!(of("gradient-input").parse().unwrap(), gradient);
        let path = MethodArgs { points: Some(8), baseline: Some(-1.0), ..of("integrated-gradients") };
        let expected = Method::IntegratedGradients(Path { points: 8, baseline: -1.0 });
        assert_eq!(path.parse().unwrap(), expected);
        assert_eq!(path.title(), "integrated-gradients --points 8 --baseline -1");
        let noise = Noise { points: 32, share: 0.2, seed: 3 };
        let args = MethodArgs { noise: Some(0.2), noise_seed: Some(3), ..of("smooth-grad") };
        assert_eq!(args.parse().unwrap(), Method::SmoothGrad(noise));
        for (args, word) in [
            (MethodArgs { points: Some(8), ..of("lrp") }, "--points"),
            (MethodArgs { noise: Some(0.1), ..of("integrated-gradients") }, "--noise"),
            (MethodArgs { noise: Some(-0.1), ..of("smooth-grad") }, "--noise -0.1"),
            (MethodArgs { baseline: Some(f32::NAN), ..of("integrated-gradients") }, "--baseline NaN"),
            (MethodArgs { points: Some(0), ..of("smooth-grad") }, "--points is 0"),
            (MethodArgs { noise_seed: Some(1), ..of("sensitivity") }, "--noise-seed"),
        ] {
            let error = args.parse().unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn beta_follows_from_alpha_and_other_methods_have_neither() {
        let parse = |method: &str, alpha, beta| {
            MethodArgs { method: method.to_owned(), alpha, beta, ..args() }.parse()
        };
        let lrp =
            |alpha, beta| Method::by_name("lrp", &Numbers { alpha, beta, ..Numbers::default() }).unwrap();
        assert_eq!(parse("lrp", None, None).unwrap(), lrp(2.0, 1.0));
        assert_eq!(parse("lrp", Some(3.0), None).unwrap(), lrp(3.0, 2.0));
        assert_eq!(parse("lrp", None, Some(0.0)).unwrap(), lrp(1.0, 0.0));
        assert!(parse("lrp", Some(0.5), None).is_err() && parse("lrp", Some(3.0), Some(1.0)).is_err());
        let of = |epsilon, gamma| MethodArgs { epsilon, gamma, ..args() };
        for (args, word) in [(of(Some(0.5), None), "--epsilon 0.5"), (of(None, Some(0.5)), "--gamma 0.5")] {
            for method in ["deep-taylor", "sensitivity"] {
                let error = MethodArgs { method: method.to_owned(), ..args.clone() }.parse().unwrap_err();
                assert!(error.to_string().contains(word) && error.to_string().contains(method), "{error}");
            }
            assert!(MethodArgs { middle: Some("gamma".to_owned()), ..args }.parse().is_ok(), "{word}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        std::fs::write(&path, "middle = \"z-plus\"\nalpha = 2\nbeta = 1").unwrap();
        let error = MethodArgs { rules: Some(path), ..args() }.parse().unwrap_err().to_string();
        assert!(error.contains("--alpha 2"), "{error}");
        for method in ["deep-taylor", "w-square", "sensitivity"] {
            let error = parse(method, Some(3.0), None).unwrap_err().to_string();
            assert!(error.contains("--alpha 3") && error.contains(method), "{error}");
            assert!(parse(method, None, Some(1.0)).is_err() && parse(method, None, None).is_ok());
        }
    }
}
