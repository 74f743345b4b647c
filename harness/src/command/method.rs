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
    /// α of lrp: weight of positive contributions; α − β = 1
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    pub alpha: f32,
    /// β of lrp: weight of negative contributions
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub beta: f32,
}

impl MethodArgs {
    /// The method.
    ///
    /// # Errors
    /// [`UsageError`] if the name is unknown, or α and β are invalid.
    pub fn parse(&self) -> Result<Method> {
        let method = Method::by_name(&self.method, self.alpha, self.beta).ok_or_else(|| {
            UsageError(format!("--method {}: it must be one of {}", self.method, Method::NAMES.join(", ")))
        })?;
        if let Method::Lrp { alpha, beta } = method
            && !((alpha - beta - 1.0).abs() < 1e-6 && beta >= 0.0)
        {
            bail!(UsageError(format!("--alpha {alpha} --beta {beta}: α − β must be 1 and β at least 0")));
        }
        Ok(method)
    }
}
