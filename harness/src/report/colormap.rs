//! Colour maps, normalisations and scales of relevance.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A colour map over `[-1, 1]`.
///
/// The first nine diverge from a neutral colour at 0. The others are sequential and need [`Norm::Absolute`] or
/// [`Norm::Unaligned`]. Names without another source are those of zennit's `--cmap`, with its colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colormap {
    /// blue, white, red: that of the thesis's figures
    #[default]
    Bwr,
    /// dark blue, white, dark red, darkened: that of the tutorial on heatmapping.org
    Heatmapping,
    /// blue, light grey, red-brown, of even perceived steps (after F. Crameri's vik)
    Vik,
    /// light blue, black, light red, of even perceived steps, for dark paper (after F. Crameri's berlin)
    Berlin,
    /// cyan, blue, black, red, yellow, white
    Coldnhot,
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
    /// violet, green, yellow, of even perceived steps (matplotlib's)
    Viridis,
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
            // matplotlib's seismic, each channel times 0.85.
            Self::Heatmapping => &[
                (-1.0, [0, 0, 65]),
                (-0.5, [0, 0, 217]),
                (0.0, [217, 217, 217]),
                (0.5, [217, 0, 0]),
                (1.0, [108, 0, 0]),
            ],
            Self::Vik => &[
                (-1.0, [0x00, 0x12, 0x61]),
                (-0.778, [0x03, 0x3e, 0x7d]),
                (-0.556, [0x1e, 0x6f, 0x9d]),
                (-0.333, [0x71, 0xa8, 0xc4]),
                (-0.111, [0xc9, 0xdd, 0xe7]),
                (0.0, [0xed, 0xe5, 0xe0]),
                (0.111, [0xea, 0xce, 0xbd]),
                (0.333, [0xd3, 0x97, 0x74]),
                (0.556, [0xbe, 0x65, 0x33]),
                (0.778, [0x8b, 0x27, 0x06]),
                (1.0, [0x59, 0x00, 0x08]),
            ],
            Self::Berlin => &[
                (-1.0, [0x9e, 0xb0, 0xff]),
                (-0.667, [0x4f, 0x9b, 0xd2]),
                (-0.333, [0x1f, 0x5a, 0x77]),
                (0.0, [0x12, 0x14, 0x17]),
                (0.333, [0x5a, 0x1c, 0x05]),
                (0.667, [0xa9, 0x55, 0x44]),
                (1.0, [0xff, 0xad, 0xad]),
            ],
            Self::France => &[(-1.0, [0x00, 0x55, 0xa4]), (0.0, WHITE), (1.0, [0xef, 0x41, 0x35])],
            Self::Seismic => &[(-1.0, [0, 0, 0xd0]), (0.0, GREY), (1.0, [0xd0, 0, 0])],
            Self::Coolio => &[(-1.0, [0, 0xd0, 0xd0]), (0.0, GREY), (1.0, [0xd0, 0, 0xd0])],
            Self::Coleus => &[(-1.0, [0, 0xd0, 0]), (0.0, GREY), (1.0, [0xd0, 0, 0xd0])],
            Self::Gray => &[(-1.0, BLACK), (1.0, WHITE)],
            Self::Hot => &[(-1.0, BLACK), (-THIRD, RED), (THIRD, YELLOW), (1.0, WHITE)],
            Self::Cold => &[(-1.0, BLACK), (0.0, BLUE), (1.0, CYAN)],
            Self::Wred => &[(-1.0, WHITE), (1.0, RED)],
            Self::Wblue => &[(-1.0, WHITE), (1.0, BLUE)],
            Self::Viridis => &[
                (-1.0, [0x44, 0x01, 0x54]),
                (-0.75, [0x47, 0x2d, 0x7b]),
                (-0.5, [0x3b, 0x52, 0x8b]),
                (-0.25, [0x2c, 0x72, 0x8e]),
                (0.0, [0x21, 0x91, 0x8c]),
                (0.25, [0x28, 0xae, 0x80]),
                (0.5, [0x5e, 0xc9, 0x62]),
                (0.75, [0xad, 0xdc, 0x30]),
                (1.0, [0xfd, 0xe7, 0x25]),
            ],
        }
    }

    /// Whether 0 has a neutral colour and the signs have one each.
    pub fn diverges(self) -> bool {
        !matches!(self, Self::Gray | Self::Hot | Self::Cold | Self::Wred | Self::Wblue | Self::Viridis)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
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
    /// `2·(R − min R) / (max R − min R) − 1`: the whole range is used; the position of 0 varies
    Unaligned,
}

/// What the ends of the colour map stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scale {
    /// The largest |R| of each map.
    #[default]
    Own,
    /// The largest |R| of all maps of a picture.
    Common,
    /// This percentile of |R| of each map; larger values have the colour of the end.
    Percentile(f64),
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Scale, String> {
        let why = || {
            "it must be own, common, percentile, or percentile:P with P above 50 and at most 100".to_owned()
        };
        match text.split_once(':') {
            None => match text {
                "own" => Ok(Scale::Own),
                "common" => Ok(Scale::Common),
                "percentile" => Ok(Scale::Percentile(99.0)),
                _ => Err(why()),
            },
            Some(("percentile", number)) => {
                let p = number.parse().ok().filter(|&p: &f64| p > 50.0 && p <= 100.0);
                p.map(Scale::Percentile).ok_or_else(why)
            }
            Some(_) => Err(why()),
        }
    }
}

/// How relevance is drawn, as options of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Args)]
pub struct Look {
    /// Colour map of heatmaps
    #[arg(long, value_enum, default_value_t = Colormap::Bwr)]
    pub cmap: Colormap,
    /// Normalisation of a heatmap [default: symmetric for maps with a colour of 0, absolute for others]
    #[arg(long, value_enum)]
    pub relevance_norm: Option<Norm>,
    /// What the ends of the colour map stand for: own (the largest |R| of each map), common (of all maps of a picture),
    /// percentile or percentile:P (of |R| of each map)
    #[arg(long, value_name = "SCALE", default_value = "own")]
    pub scale: Scale,
}

/// The values at the ends of a colour map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest value, or that of a percentile.
    pub low: f32,
    /// The largest.
    pub high: f32,
}

impl Range {
    /// The largest absolute value.
    pub fn largest(self) -> f32 {
        self.high.max(-self.low)
    }
}

impl Look {
    /// The normalisation: that of the option, or one that goes with the map.
    pub fn norm(&self) -> Norm {
        let fitting = if self.cmap.diverges() { Norm::Symmetric } else { Norm::Absolute };
        self.relevance_norm.unwrap_or(fitting)
    }

    /// The range of each of these maps, which are one picture.
    pub fn ranges(&self, maps: &[&[f32]]) -> Vec<Range> {
        let own = |map: &&[f32]| {
            let (low, high) = range(map);
            Range { low, high }
        };
        match self.scale {
            Scale::Own => maps.iter().map(own).collect(),
            Scale::Common => {
                let empty = Range { low: f32::INFINITY, high: f32::NEG_INFINITY };
                let join =
                    |all: Range, of: Range| Range { low: all.low.min(of.low), high: all.high.max(of.high) };
                vec![maps.iter().map(own).fold(empty, join); maps.len()]
            }
            Scale::Percentile(p) => maps.iter().map(|map| self.percentile(map, p)).collect(),
        }
    }

    fn percentile(&self, map: &[f32], p: f64) -> Range {
        let sorted = |value: fn(f32) -> f32| {
            let mut values: Vec<f32> = map.iter().copied().filter(|v| v.is_finite()).map(value).collect();
            values.sort_by(f32::total_cmp);
            values
        };
        let at = |sorted: &[f32], p: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((p / 100.0 * last as f64).round() as usize).copied()
        };
        let found = match self.norm() {
            Norm::Unaligned => {
                let values = sorted(|v| v);
                at(&values, 100.0 - p).zip(at(&values, p))
            }
            Norm::Symmetric | Norm::Absolute => at(&sorted(f32::abs), p).map(|most| (-most, most)),
        };
        found.map_or(Range { low: f32::INFINITY, high: f32::NEG_INFINITY }, |(low, high)| Range { low, high })
    }

    /// Colour map and scale in words, for the line below a picture.
    pub fn text(&self) -> String {
        let scale = match self.scale {
            Scale::Own => "each map by its largest |R|".to_owned(),
            Scale::Common => "all maps by their common largest |R|".to_owned(),
            Scale::Percentile(p) => format!("each map by percentile {p} of |R|"),
        };
        format!("colours {}, {scale}", self.cmap.name())
    }
}

/// Maps `values` to `[-1, 1]` by `norm`, in a range that may be that of other values too.
///
/// A picture without a range (all zero, or all equal for [`Norm::Unaligned`]) becomes 0 for
/// [`Norm::Symmetric`], −1 for the others. Non-finite values stay unchanged.
pub fn normalise(norm: Norm, values: &[f32], range: Range) -> Vec<f32> {
    let Range { low, high } = range;
    let (offset, span, nothing) = match norm {
        Norm::Symmetric => (0.0, range.largest(), 0.0),
        Norm::Absolute => (0.0, range.largest(), -1.0),
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

/// Smallest and largest finite value; `(∞, −∞)` if there is none.
fn range(values: &[f32]) -> (f32, f32) {
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

    /// A picture that is scaled by itself.
    fn alone(norm: Norm, values: &[f32]) -> Vec<f32> {
        let look = Look { relevance_norm: Some(norm), ..Look::default() };
        normalise(norm, values, look.ranges(&[values])[0])
    }

    #[test]
    fn norms_map_to_their_ranges() {
        let r = [-1.0, 0.0, 4.0];
        assert_eq!(alone(Norm::Symmetric, &r), [-0.25, 0.0, 1.0]);
        assert_eq!(alone(Norm::Absolute, &r), [-0.5, -1.0, 1.0]);
        assert_eq!(alone(Norm::Unaligned, &r), [-1.0, -0.6, 1.0]);
    }

    #[test]
    fn a_picture_without_range_becomes_zero() {
        assert_eq!(alone(Norm::Symmetric, &[0.0, -0.0]), [0.0, 0.0]);
        assert_eq!(alone(Norm::Absolute, &[0.0]), [-1.0]);
        assert_eq!(alone(Norm::Unaligned, &[3.0, 3.0]), [-1.0, -1.0]);
        assert!(alone(Norm::Symmetric, &[]).is_empty());
    }

    #[test]
    fn scales_are_of_one_map_of_all_or_of_most_values() {
        let (a, b) = ([1.0f32, -2.0], [8.0f32, 0.0]);
        let of = |scale| {
            Look { scale, ..Look::default() }.ranges(&[&a, &b]).iter().map(|of| of.largest()).collect()
        };
        let found: Vec<Vec<f32>> = vec![of(Scale::Own), of(Scale::Common)];
        assert_eq!(found, [[2.0, 8.0], [8.0, 8.0]]);
        let hundred: Vec<f32> = (0..=100).map(|v| if v == 100 { 1e6 } else { v as f32 }).collect();
        let look = Look { scale: "percentile:99".parse().unwrap(), ..Look::default() };
        assert_eq!(look.ranges(&[&hundred])[0].largest(), 99.0);
        assert_eq!("percentile".parse(), Ok(Scale::Percentile(99.0)));
        for text in ["percentile:50", "percentile:x", "own:1", "", "percentile:101"] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
    }

    #[test]
    fn maps_without_a_colour_of_zero_show_absolute_values() {
        let norm = |cmap| Look { cmap, ..Look::default() }.norm();
        assert_eq!((norm(Colormap::Vik), norm(Colormap::Viridis)), (Norm::Symmetric, Norm::Absolute));
        // Perceived lightness of viridis rises all along.
        let light = |i: i32| {
            let [r, g, b] = Colormap::Viridis.rgb(i as f32 / 10.0).map(f32::from);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        assert!((-10..10).all(|i| light(i) < light(i + 1)));
    }

    #[test]
    fn the_command_line_uses_the_names_of_zennit() {
        for name in [
            "vik",
            "berlin",
            "viridis",
            "heatmapping",
            "coldnhot",
            "bwr",
            "seismic",
            "gray",
            "france",
            "coolio",
            "coleus",
            "hot",
            "wred",
        ] {
            assert!(Colormap::from_str(name, false).is_ok(), "{name}");
        }
        for name in ["symmetric", "absolute", "unaligned"] {
            assert!(Norm::from_str(name, false).is_ok(), "{name}");
        }
    }
}
