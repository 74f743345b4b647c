//! The method of explanation, as options.

use crate::error::UsageError;
use anyhow::{Result, bail};
use clap::Args;
use model::explain::Method;

/// The method of explanation.
#[derive(Debug, Args)]
pub struct MethodArgs {
    /// deep-taylor, lrp, z-plus, w-square, sensitivity, simple-taylor or guided-backprop
    #[arg(long, value_name = "NAME", default_value = "deep-taylor")]
    pub method: String,
    /// α of lrp: weight of positive contributions; α − β = 1 [default: β + 1, or 2]
    #[arg(long, value_name = "X")]
    pub alpha: Option<f32>,
    /// β of lrp: weight of negative contributions [default: α − 1, or 1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub beta: Option<f32>,
}

impl MethodArgs {
    /// The method.
    ///
    /// # Errors
    /// [`UsageError`] if the name is unknown, α and β are invalid, or given to a method that has none.
    pub fn parse(&self) -> Result<Method> {
        let (alpha, beta) = match (self.alpha, self.beta) {
            (Some(alpha), Some(beta)) => (alpha, beta),
            (Some(alpha), None) => (alpha, alpha - 1.0),
            (None, Some(beta)) => (beta + 1.0, beta),
            (None, None) => (2.0, 1.0),
        };
        let method = Method::by_name(&self.method, alpha, beta).ok_or_else(|| {
            UsageError(format!("--method {}: it must be one of {}", self.method, Method::NAMES.join(", ")))
        })?;
        // z-plus is α = 1, β = 0 under a name of its own.
        if self.method != "lrp" {
            for (name, value) in [("--alpha", self.alpha), ("--beta", self.beta)] {
                if let Some(value) = value {
                    let method = &self.method;
                    bail!(UsageError(format!(
                        "{name} {value}: {method} has none; it belongs to --method lrp"
                    )));
                }
            }
        } else if !((alpha - beta - 1.0).abs() < 1e-6 && beta >= 0.0) {
            bail!(UsageError(format!("--alpha {alpha} --beta {beta}: α − β must be 1 and β at least 0")));
        }
        Ok(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_follows_from_alpha_and_other_methods_have_neither() {
        let parse = |method: &str, alpha, beta| MethodArgs { method: method.to_owned(), alpha, beta }.parse();
        let lrp = |alpha, beta| Method::Lrp { alpha, beta };
        assert_eq!(parse("lrp", None, None).unwrap(), lrp(2.0, 1.0));
        assert_eq!(parse("lrp", Some(3.0), None).unwrap(), lrp(3.0, 2.0));
        assert_eq!(parse("lrp", None, Some(0.0)).unwrap(), lrp(1.0, 0.0));
        assert!(parse("lrp", Some(0.5), None).is_err() && parse("lrp", Some(3.0), Some(1.0)).is_err());
        for method in ["deep-taylor", "z-plus", "sensitivity"] {
            let error = parse(method, Some(3.0), None).unwrap_err().to_string();
            assert!(error.contains("--alpha 3") && error.contains(method), "{error}");
            assert!(parse(method, None, Some(1.0)).is_err() && parse(method, None, None).is_ok());
        }
    }
}
