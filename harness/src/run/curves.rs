//! Loss and accuracy by epoch, drawn with characters: what `--watch` shows while a network is trained.

use textplots::{Chart, LabelBuilder, LabelFormat, Plot, Shape};

/// Width and height of a chart, in dots: two columns and four rows of dots are one character.
const DOTS: (u32, u32) = (72, 24);
/// Characters from the left edge of one chart to that of the next: the chart, and the numbers at its right.
const COLUMN: usize = 46;
/// Dots between two marks of the validation samples, so that they do not look like a line.
const APART: usize = 5;

/// Loss and accuracy of the epochs in the lines of `metrics.csv` (without its header), beside each other; the horizontal axis
/// ends at the last epoch that is planned. Empty before the first epoch is complete.
pub fn curves(lines: &str, epochs: u64) -> String {
    let rows: Vec<Vec<f32>> =
        lines.lines().map(|line| line.split(',').filter_map(|value| value.parse().ok()).collect()).collect();
    let points = |column: usize| -> Vec<(f32, f32)> {
        let of =
            |row: &Vec<f32>| Some((*row.first()?, *row.get(column)?)).filter(|(_, value)| value.is_finite());
        rows.iter().filter_map(of).collect()
    };
    let [loss, accuracy] = [("loss", 1), ("accuracy", 2)]
        .map(|(name, column)| chart(name, &points(column), &points(column + 2), epochs));
    let (Some(loss), Some(accuracy)) = (loss, accuracy) else { return String::new() };
    let pairs = loss.iter().zip(&accuracy);
    pairs.map(|(left, right)| format!("{left:<COLUMN$}{right}")).collect::<Vec<_>>().join("\n")
}

/// The lines of one chart; none without a point.
fn chart(name: &str, train: &[(f32, f32)], validation: &[(f32, f32)], epochs: u64) -> Option<Vec<String>> {
    let (&(_, of_train), &(_, of_validation)) = (train.last()?, validation.last()?);
    let step = (train.len() * APART).div_ceil(DOTS.0 as usize).max(1);
    let marks: Vec<(f32, f32)> = validation.iter().rev().step_by(step).copied().collect();
    let values = || train.iter().chain(validation).map(|&(_, value)| value);
    let (low, high) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
    // An axis without length cannot be drawn.
    let room = if high > low { 0.0 } else { 0.05 };
    let (line, dots) = (Shape::Lines(train), Shape::Points(&marks));
    let last = epochs.max(2) as f32;
    let mut chart = Chart::new_with_y_range(DOTS.0, DOTS.1, 1.0, last, low - room, high + room);
    let chart = chart.lineplot(&line).lineplot(&dots);
    let chart = chart.x_label_format(LabelFormat::Custom(Box::new(|epoch| format!("{epoch:.0}"))));
    let chart = chart.y_label_format(LabelFormat::Custom(Box::new(|value| format!("{value:.3}"))));
    chart.axis();
    chart.figures();
    let mut lines = vec![format!("{name}: — train {of_train:.4}, · validation {of_validation:.4}")];
    lines.extend(chart.to_string().lines().map(|line| line.replace('\u{2800}', " ").trim_end().to_owned()));
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(epochs: usize) -> String {
        (1..=epochs)
            .map(|n| {
                format!(
                    "{n},{:.6},0.5,{:.6},{:.6},9,9,0,1e0\n",
                    2.0 / n as f64,
                    3.0 / n as f64,
                    1.0 - 0.5 / n as f64
                )
            })
            .collect()
    }

    #[test]
    fn a_falling_loss_falls_and_both_ends_are_labelled() {
        let text = curves(&rows(20), 20);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("train 0.1000") && lines[0].contains("validation 0.1500"), "{text}");
        assert!(lines[0].contains("accuracy") && lines[0].contains("validation 0.9750"), "{text}");
        assert!(lines[1].contains("3.000") && text.contains("0.100"), "the ends of the axis: {text}");
        // The loss begins high at the left and ends low at the right; the accuracy the other way round.
        let top = |from: usize, to: usize| {
            let dots = |line: &&str| {
                line.chars().take(to).skip(from).any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
            };
            lines[1..].iter().position(dots)
        };
        let right = |left: usize| (left + 20, left + 36);
        assert!(top(0, 4) < top(right(0).0, right(0).1), "{text}");
        assert!(top(COLUMN, COLUMN + 4) > top(right(COLUMN).0, right(COLUMN).1), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 2 * COLUMN), "{text}");
    }

    #[test]
    fn nothing_one_epoch_and_values_that_are_not_finite_are_no_failure() {
        assert_eq!(curves("", 10), "");
        assert!(curves(&rows(1), 1).lines().count() > 4);
        assert_eq!(curves("1,NaN,0.5,NaN,0.5,9,9,0,1e0\n", 3), "");
        assert!(!curves("1,2.0,0.5,2.0,0.5,9,9,0\n2,NaN,0.5,inf,0.5,9,9,0\n", 3).is_empty());
    }
}
