//! Figures 3.4 to 3.6: contour plot of a relu neuron of two inputs, with the root point of each rule of deep Taylor
//! decomposition.

use super::curve::{Axis, FONT_UNIT, GREY, INK, PALETTE};
use super::svg::FONT;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// `R = max(0, w·a + b)` at one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neuron {
    /// Weights.
    pub w: [f64; 2],
    /// Bias.
    pub b: f64,
    /// Activations.
    pub a: [f64; 2],
}

/// A rule of deep Taylor decomposition, with its input domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Any real number.
    WSquare,
    /// At least 0.
    ZPlus,
    /// Within −1…1.
    ZBeta,
}

impl Rule {
    /// All three.
    pub const ALL: [Rule; 3] = [Rule::WSquare, Rule::ZPlus, Rule::ZBeta];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Rule::WSquare => "w²",
            Rule::ZPlus => "z⁺",
            Rule::ZBeta => "zᵝ",
        }
    }

    /// The direction in which the root point is searched (section 3.3).
    pub fn direction(self, at: Neuron) -> [f64; 2] {
        std::array::from_fn(|j| match (self, at.w[j] >= 0.0) {
            (Rule::WSquare, _) => at.w[j],
            (Rule::ZPlus, true) => at.a[j],
            (Rule::ZPlus, false) => 0.0,
            // a − l and a − h, for l = −1 and h = 1.
            (Rule::ZBeta, true) => at.a[j] + 1.0,
            (Rule::ZBeta, false) => at.a[j] - 1.0,
        })
    }

    /// Relevance of the two inputs: `v_j w_j / Σ v w · R` (Eq. 3.17).
    pub fn relevance(self, at: Neuron) -> [f64; 2] {
        let v = self.direction(at);
        let sum = v[0] * at.w[0] + v[1] * at.w[1];
        std::array::from_fn(|j| v[j] * at.w[j] / sum * at.value(at.a))
    }

    /// The root point `ã = a − t·v`, `t = R / Σ v w` (Eq. 3.10, 3.13).
    pub fn root(self, at: Neuron) -> [f64; 2] {
        let v = self.direction(at);
        let t = at.value(at.a) / (v[0] * at.w[0] + v[1] * at.w[1]);
        std::array::from_fn(|j| at.a[j] - t * v[j])
    }
}

impl Neuron {
    /// `max(0, w·a + b)`.
    pub fn value(self, a: [f64; 2]) -> f64 {
        self.line(a).max(0.0)
    }

    fn line(self, a: [f64; 2]) -> f64 {
        self.w[0] * a[0] + self.w[1] * a[1] + self.b
    }

    /// The part of a convex polygon where `w·a + b ≥ level`, or `≤` if `below`.
    fn clip(self, polygon: &[[f64; 2]], level: f64, below: bool) -> Vec<[f64; 2]> {
        let sign = if below { -1.0 } else { 1.0 };
        let height = |a: [f64; 2]| sign * (self.line(a) - level);
        let mut kept = Vec::new();
        for (i, &p) in polygon.iter().enumerate() {
            let q = polygon[(i + 1) % polygon.len()];
            let (from, to) = (height(p), height(q));
            if from >= 0.0 {
                kept.push(p);
            }
            if (from < 0.0) != (to < 0.0) {
                let part = from / (from - to);
                kept.push([p[0] + part * (q[0] - p[0]), p[1] + part * (q[1] - p[1])]);
            }
        }
        kept
    }
}

const SIZE: (u32, u32) = (520, 540);
/// Height of the legend below.
const LEGEND: i32 = 56;
/// The plane that is drawn.
const EXTENT: f64 = 1.25;
/// Distance between two contour lines.
const STEP: f64 = 0.25;

/// The neuron's output with contour lines, the point, and for each rule its search direction and root point.
/// The domain of a single rule is framed.
///
/// # Errors
/// If the drawing library fails.
pub fn svg(title: &str, neuron: Neuron, rules: &[Rule]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, neuron, rules).map_err(|error| anyhow!("\"{title}\" was not drawn: {error}"))?;
    Ok(svg)
}

fn draw<'a>(
    svg: &'a mut String,
    title: &str,
    neuron: Neuron,
    rules: &[Rule],
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let text = |size: f64| (FONT, size * FONT_UNIT).into_font().color(&INK);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title, (14, 18), text(17.0)))?;
    let (plot, legend) = root.margin(44, 6, 4, 12).split_vertically(SIZE.1 as i32 - 50 - LEGEND);
    let axis = || Axis::around([-EXTENT, EXTENT].into_iter(), 6, false);
    let mut chart = ChartBuilder::on(&plot)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .margin_right(12)
        .build_cartesian_2d(axis(), axis())?;
    let e = EXTENT;
    let plane = [[-e, -e], [e, -e], [e, e], [-e, e]];
    let highest = plane.iter().map(|&a| neuron.value(a)).fold(0.0, f64::max);
    let levels = (highest / STEP).ceil() as usize;
    for i in 0..levels {
        let (low, high) = (STEP * i as f64, STEP * (i + 1) as f64);
        let band = neuron.clip(&neuron.clip(&plane, low, false), high, true);
        let colour = PALETTE[1].mix(0.06 + 0.5 * i as f64 / levels as f64);
        chart.draw_series([Polygon::new(points(&band), colour.filled())])?;
        // The edge of the band on the low side is the contour line.
        let edge: Vec<[f64; 2]> =
            band.iter().copied().filter(|&a| (neuron.line(a) - low).abs() < 1e-9).collect();
        chart
            .draw_series([PathElement::new(points(&edge), GREY.stroke_width(if i == 0 { 2 } else { 1 }))])?;
        if let Some(&[x, y]) = edge.iter().max_by(|p, q| p[1].total_cmp(&q[1])) {
            let style = text(15.0).pos(Pos::new(HPos::Right, VPos::Top));
            chart.draw_series([Text::new(low.to_string(), (x - 0.03, y - 0.02), style)])?;
        }
    }
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GREY)
        .x_desc("activation a₁ (no unit)")
        .y_desc("activation a₂ (no unit)")
        .axis_desc_style(text(15.0))
        .label_style(text(15.0))
        .draw()?;
    let domain = match rules {
        [Rule::ZPlus] => Some([[0.0, 0.0], [e, 0.0], [e, e], [0.0, e]]),
        [Rule::ZBeta] => Some([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
        _ => None,
    };
    if let Some(domain) = domain {
        let closed: Vec<(f64, f64)> = points(&domain).into_iter().chain([point(domain[0])]).collect();
        chart.draw_series(DashedLineSeries::new(closed, 6, 4, INK.stroke_width(1)))?;
    }
    let mut entries = 0;
    let mut entry = |colour: RGBColor, label: String| -> Result<(), Box<dyn std::error::Error + 'a>> {
        let (x, y) = (20 + 250 * (entries % 2), 14 + 26 * (entries / 2));
        legend.draw(&Circle::new((x, y), 5, colour.filled()))?;
        let style = text(15.0).pos(Pos::new(HPos::Left, VPos::Center));
        legend.draw(&Text::new(label, (x + 14, y), style))?;
        entries += 1;
        Ok(())
    };
    entry(INK, format!("a, R = {:.2}", neuron.value(neuron.a)))?;
    for &rule in rules {
        let colour = [PALETTE[0], PALETTE[2], PALETTE[3]][rule as usize];
        let found = rule.root(neuron);
        chart.draw_series([PathElement::new(points(&[neuron.a, found]), colour.stroke_width(3))])?;
        chart.draw_series([Circle::new(point(found), 6, colour.filled())])?;
        entry(colour, format!("{}: ã = ({:.2}, {:.2})", rule.name(), found[0], found[1]))?;
    }
    chart.draw_series([Circle::new(point(neuron.a), 6, INK.filled())])?;
    root.present()?;
    Ok(())
}

fn point(a: [f64; 2]) -> (f64, f64) {
    (a[0], a[1])
}

fn points(of: &[[f64; 2]]) -> Vec<(f64, f64)> {
    of.iter().copied().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEURON: Neuron = Neuron { w: [1.0, -0.6], b: -0.15, a: [0.8, 0.45] };

    #[test]
    fn every_root_is_a_root_in_the_domain_and_relevance_is_conserved() {
        let value = NEURON.value(NEURON.a);
        assert!((value - 0.38).abs() < 1e-12);
        for rule in Rule::ALL {
            let root = rule.root(NEURON);
            assert!(NEURON.line(root).abs() < 1e-12, "{rule:?}: {root:?}");
            let inside = match rule {
                Rule::WSquare => true,
                Rule::ZPlus => root.iter().all(|a| *a >= 0.0),
                Rule::ZBeta => root.iter().all(|a| (-1.0..=1.0).contains(a)),
            };
            assert!(inside, "{rule:?}: {root:?}");
            let relevance = rule.relevance(NEURON);
            assert!((relevance[0] + relevance[1] - value).abs() < 1e-12);
            assert!(relevance.iter().all(|r| *r >= 0.0), "{rule:?}: {relevance:?}");
        }
        // z⁺ gives no relevance to an input with a negative weight; w² ignores the input.
        assert_eq!(Rule::ZPlus.relevance(NEURON)[1], 0.0);
        let shares = Rule::WSquare.relevance(NEURON).map(|r| r / value);
        assert!((shares[0] - 1.0 / 1.36).abs() < 1e-12);
    }

    #[test]
    fn clipping_keeps_the_requested_side() {
        let neuron = Neuron { w: [1.0, 0.0], b: 0.0, a: [1.0, 0.0] };
        let square = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]];
        let right = neuron.clip(&square, 0.5, false);
        assert_eq!(right.len(), 4);
        assert!(right.iter().all(|a| a[0] >= 0.5));
        assert!(neuron.clip(&square, 0.5, true).iter().all(|a| a[0] <= 0.5));
        assert!(neuron.clip(&square, 2.0, false).is_empty());
    }

    #[test]
    fn the_drawing_names_its_axes_and_rules() {
        let svg = svg("R over two activations", NEURON, &Rule::ALL).unwrap();
        for text in ["activation a₁", "activation a₂", "w²", "z⁺", "0.25"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
