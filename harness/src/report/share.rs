//! Figure 4.9: the share of each step.

use super::curve::{Line, LineChart};

/// Figure 4.9: the share of each step, of the pixels (dashed) and of the relevance of each network.
///
/// - `pixels` `[T]`, and each of `series` its name and `[T]`: shares, which sum to 1
pub fn share_chart(title: &str, pixels: &[f64], series: &[(String, Vec<f64>)]) -> LineChart {
    let points = |shares: &[f64]| shares.iter().zip(1..).map(|(&share, t)| (f64::from(t), share)).collect();
    let line =
        |label: &str, shares: &[f64], dashed| Line { label: label.into(), points: points(shares), dashed };
    let steps = series.iter().map(|(_, shares)| shares.len()).chain([pixels.len()]).max().unwrap_or(0);
    let mut lines = vec![line("pixel intensity", pixels, true)];
    lines.extend(series.iter().map(|(label, shares)| line(label, shares, false)));
    LineChart {
        title: title.into(),
        x_label: "step t of the sequence".into(),
        y_label: "share of the sum (1 = all)".into(),
        x_ticks: (1..=steps).map(|t| t as f64).collect(),
        from_zero: true,
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_names_its_series() {
        let series = [("Deep-2".to_owned(), vec![0.3, 0.7])];
        let svg = share_chart("MNIST, class 1", &[0.2, 0.8], &series).svg().unwrap();
        assert!(svg.contains("pixel intensity") && svg.contains("Deep-2") && svg.contains("MNIST, class 1"));
    }
}
