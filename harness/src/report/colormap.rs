//! From relevance to colour, with zennit's names for colour maps and normalisations.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A colour map over `[-1, 1]`. The names and the colours are those of zennit's `--cmap`.
///
/// The first six diverge from a neutral colour at 0. The others are sequential and need [`Norm::Absolute`] or
/// [`Norm::Unaligned`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colormap {
    /// cyan, blue, black, red, yellow, white
    #[default]
    Coldnhot,
    /// blue, white, red
    Bwr,
    /// blue, white, red of the French flag
    France,
    /// blue, grey, red, a little darker
    Seismic,
    /// cyan, grey, magenta
    Coolio,
    /// green, grey, magenta
    Coleus,
    /// black to white
    Gray,
    /// black, red, yellow, white
    Hot,
    /// black, blue, cyan
    Cold,
    /// white to red
    Wred,
    /// white to blue
    Wblue,
}

/// A position in `[-1, 1]` and the colour there.
type Stop = (f32, [u8; 3]);

const BLACK: [u8; 3] = [0, 0, 0];
const WHITE: [u8; 3] = [255, 255, 255];
const RED: [u8; 3] = [255, 0, 0];
const YELLOW: [u8; 3] = [255, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const CYAN: [u8; 3] = [0, 255, 255];
const GREY: [u8; 3] = [0xd0, 0xd0, 0xd0];
const THIRD: f32 = 1.0 / 3.0;

impl Colormap {
    fn stops(self) -> &'static [Stop] {
        match self {
            Self::Coldnhot => {
                &[(-1.0, CYAN), (-0.5, BLUE), (0.0, BLACK), (THIRD, RED), (2.0 * THIRD, YELLOW), (1.0, WHITE)]
            }
            Self::Bwr => &[(-1.0, BLUE), (0.0, WHITE), (1.0, RED)],
            Self::France => &[(-1.0, [0x00, 0x55, 0xa4]), (0.0, WHITE), (1.0, [0xef, 0x41, 0x35])],
            Self::Seismic => &[(-1.0, [0, 0, 0xd0]), (0.0, GREY), (1.0, [0xd0, 0, 0])],
            Self::Coolio => &[(-1.0, [0, 0xd0, 0xd0]), (0.0, GREY), (1.0, [0xd0, 0, 0xd0])],
            Self::Coleus => &[(-1.0, [0, 0xd0, 0]), (0.0, GREY), (1.0, [0xd0, 0, 0xd0])],
            Self::Gray => &[(-1.0, BLACK), (1.0, WHITE)],
            Self::Hot => &[(-1.0, BLACK), (-THIRD, RED), (THIRD, YELLOW), (1.0, WHITE)],
            Self::Cold => &[(-1.0, BLACK), (0.0, BLUE), (1.0, CYAN)],
            Self::Wred => &[(-1.0, WHITE), (1.0, RED)],
            Self::Wblue => &[(-1.0, WHITE), (1.0, BLUE)],
        }
    }

    /// The colour of `v`, linear between the stops of the map. Values outside `[-1, 1]` take the colour of the nearer
    /// end, NaN that of 0.
    pub fn rgb(self, v: f32) -> [u8; 3] {
        let v = if v.is_nan() { 0.0 } else { v.clamp(-1.0, 1.0) };
        let stops = self.stops();
        let above = stops.iter().position(|&(at, _)| v <= at).unwrap_or(stops.len() - 1).max(1);
        let ((v0, from), (v1, to)) = (stops[above - 1], stops[above]);
        let share = (v - v0) / (v1 - v0);
        std::array::from_fn(|i| {
            (f32::from(from[i]) + share * (f32::from(to[i]) - f32::from(from[i]))).round() as u8
        })
    }
}

/// Normalisation of the relevance of one picture to `[-1, 1]`: zennit's `--relevance-norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// `R / max|R|`: 0 stays 0, and signs can be compared
    #[default]
    Symmetric,
    /// `2·|R| / max|R| − 1`: the absolute value, 0 becomes −1
    Absolute,
    /// `2·(R − min R) / (max R − min R) − 1`: the whole range is used, 0 lies anywhere
    Unaligned,
}

/// Maps `values` to `[-1, 1]` as `norm` says.
///
/// A picture without range (all zero, or all equal for [`Norm::Unaligned`]) becomes 0 for [`Norm::Symmetric`], −1 for the
/// others. Non-finite values do not affect the range and stay unchanged.
pub fn normalise(norm: Norm, values: &[f32]) -> Vec<f32> {
    let (low, high) = range(values);
    let largest = high.max(-low);
    let (offset, span, nothing) = match norm {
        Norm::Symmetric => (0.0, largest, 0.0),
        Norm::Absolute => (0.0, largest, -1.0),
        Norm::Unaligned => (low, high - low, -1.0),
    };
    // This excludes an empty picture (−∞), a constant one (0) and an overflow (∞).
    if !(span.is_finite() && span > 0.0) {
        return vec![nothing; values.len()];
    }
    values
        .iter()
        .map(|&v| match norm {
            Norm::Symmetric => v / span,
            Norm::Absolute => 2.0 * (v.abs() / span) - 1.0,
            Norm::Unaligned => 2.0 * ((v - offset) / span) - 1.0,
        })
        .collect()
}

/// Least and largest finite value; `(∞, −∞)` if there is none.
pub(crate) fn range(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .filter(|v| v.is_finite())
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_centre_are_those_of_zennit() {
        let at = |map: Colormap| [map.rgb(-1.0), map.rgb(0.0), map.rgb(1.0)];
        assert_eq!(at(Colormap::Coldnhot), [CYAN, BLACK, WHITE]);
        assert_eq!(at(Colormap::Bwr), [BLUE, WHITE, RED]);
        assert_eq!(at(Colormap::Seismic), [[0, 0, 0xd0], GREY, [0xd0, 0, 0]]);
        assert_eq!(at(Colormap::Gray), [BLACK, [128; 3], WHITE]);
        assert_eq!(Colormap::Coldnhot.rgb(THIRD), RED);
        assert_eq!(Colormap::Coldnhot.rgb(-0.5), BLUE);
    }

    #[test]
    fn every_map_has_rising_stops_from_minus_one_to_one() {
        for map in Colormap::value_variants() {
            let stops = map.stops();
            assert_eq!((stops[0].0, stops[stops.len() - 1].0), (-1.0, 1.0), "{map:?}");
            assert!(stops.windows(2).all(|pair| pair[0].0 < pair[1].0), "{map:?}");
        }
    }

    #[test]
    fn values_outside_the_range_take_the_end_and_nan_the_centre() {
        assert_eq!(Colormap::Bwr.rgb(7.0), RED);
        assert_eq!(Colormap::Bwr.rgb(f32::NEG_INFINITY), BLUE);
        assert_eq!(Colormap::Bwr.rgb(f32::NAN), WHITE);
    }

    #[test]
    fn norms_map_to_their_ranges() {
        let r = [-1.0, 0.0, 4.0];
        assert_eq!(normalise(Norm::Symmetric, &r), [-0.25, 0.0, 1.0]);
        assert_eq!(normalise(Norm::Absolute, &r), [-0.5, -1.0, 1.0]);
        assert_eq!(normalise(Norm::Unaligned, &r), [-1.0, -0.6, 1.0]);
    }

    #[test]
    fn a_picture_without_range_becomes_zero() {
        assert_eq!(normalise(Norm::Symmetric, &[0.0, -0.0]), [0.0, 0.0]);
        assert_eq!(normalise(Norm::Absolute, &[0.0]), [-1.0]);
        assert_eq!(normalise(Norm::Unaligned, &[3.0, 3.0]), [-1.0, -1.0]);
        assert!(normalise(Norm::Symmetric, &[]).is_empty());
    }

    #[test]
    fn the_command_line_uses_the_names_of_zennit() {
        for name in ["coldnhot", "bwr", "seismic", "gray", "france", "coolio", "coleus", "hot", "wred"] {
            assert!(Colormap::from_str(name, false).is_ok(), "{name}");
        }
        for name in ["symmetric", "absolute", "unaligned"] {
            assert!(Norm::from_str(name, false).is_ok(), "{name}");
        }
    }
}
