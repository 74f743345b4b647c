//! An SVG document: text as text, pictures as lossless PNG inside it.

use super::picture::Canvas;
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write as _;

/// The family of all text in figures.
pub const FONT: &str = "Helvetica, Arial, sans-serif";
/// The colour of text.
pub const INK: &str = "#222222";
/// The colour of captions, frames and ticks.
pub const FAINT: &str = "#6E6E6E";
/// The colour of the background.
pub const PAPER: &str = "#FFFFFF";

/// The side of a text that lies at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// A place on a drawing, in its units: from the left, from the top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

/// Width and height, in units of the drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A drawing; parts that are added later lie above.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    body: String,
}

/// `x` and `y`.
pub fn at(x: f64, y: f64) -> At {
    At { x, y }
}

/// `width` and `height`.
pub fn extent(width: f64, height: f64) -> Extent {
    Extent { width, height }
}

impl Drawing {
    /// A line of text whose baseline is at a position.
    pub fn text(&mut self, at: At, size: f64, anchor: Anchor, text: &str) {
        self.coloured_text(at, size, anchor, INK, text);
    }

    /// A line of text in a colour.
    pub fn coloured_text(&mut self, at: At, size: f64, anchor: Anchor, colour: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let At { x, y } = at;
        let text = escape(text);
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, at: At, size: Extent, colour: &str) {
        let (At { x, y }, Extent { width, height }) = (at, size);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{colour}\"/>"
        );
    }

    /// The edge of a rectangle.
    pub fn frame(&mut self, at: At, size: Extent, colour: &str) {
        let (At { x, y }, Extent { width, height }) = (at, size);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"none\" stroke=\"{colour}\"/>"
        );
    }

    /// A vertical line downwards.
    pub fn tick(&mut self, at: At, length: f64, colour: &str) {
        self.line(at, At { y: at.y + length, ..at }, colour);
    }

    /// A line.
    pub fn line(&mut self, from: At, to: At, colour: &str) {
        self.stroke(from, to, colour, "");
    }

    /// A dashed line.
    pub fn dashed(&mut self, from: At, to: At, colour: &str) {
        self.stroke(from, to, colour, " stroke-dasharray=\"6 4\"");
    }

    fn stroke(&mut self, from: At, to: At, colour: &str, style: &str) {
        let At { x, y } = from;
        let _ = writeln!(
            self.body,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"{style}/>",
            to.x, to.y
        );
    }

    /// A picture in a rectangle, its pixels as they are: enlarged without smoothing.
    ///
    /// # Errors
    /// If the picture has no pixels.
    pub fn picture(&mut self, at: At, size: Extent, picture: &Canvas) -> Result<()> {
        let (At { x, y }, Extent { width, height }) = (at, size);
        let png = BASE64_STANDARD.encode(picture.png()?);
        let _ = writeln!(
            self.body,
            "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" preserveAspectRatio=\"none\" \
             image-rendering=\"optimizeSpeed\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{png}\"/>"
        );
        Ok(())
    }

    /// The document on paper of this size.
    pub fn finish(self, size: Extent) -> String {
        let Extent { width, height } = size;
        let body = self.body;
        format!(
            "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             xmlns=\"http://www.w3.org/2000/svg\" font-family=\"{FONT}\">\n\
             <rect x=\"0\" y=\"0\" width=\"{width:.0}\" height=\"{height:.0}\" fill=\"{PAPER}\"/>\n{body}</svg>\n"
        )
    }
}

/// An estimate of the width of a text, a little more than that of most fonts.
pub fn text_width(text: &str, size: f64) -> f64 {
    0.56 * size * text.chars().count() as f64
}

/// Breaks `text` at spaces into lines of at most `width`; a longer word is a line of its own.
pub fn wrap(text: &str, width: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, size) + text_width(word, size) + 0.56 * size <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// Text for XML. Control characters, which XML has none of, become spaces.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Width of an SVG document and its smallest size of text, both in its own units, as its attributes say.
pub(super) fn measures(svg: &str) -> (f64, f64) {
    let number = |text: &str| {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        text[..end].parse::<f64>().ok()
    };
    let width = svg.split_once("width=\"").and_then(|(_, rest)| number(rest)).unwrap_or(640.0);
    let sizes = svg.split("font-size=\"").skip(1).filter_map(number);
    (width, sizes.fold(f64::INFINITY, f64::min))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_pictures_are_png() {
        let mut drawing = Drawing::default();
        drawing.text(at(1.0, 2.0), 15.0, Anchor::End, "a < b\u{1b} & \"c\"");
        let canvas = Canvas { width: 1, height: 1, rgb: vec![1, 2, 3] };
        drawing.picture(at(0.0, 0.0), extent(8.0, 8.0), &canvas).unwrap();
        let svg = drawing.finish(extent(120.0, 30.0));
        assert!(
            svg.contains(">a &lt; b  &amp; &quot;c&quot;</text>") && svg.contains("data:image/png;base64,")
        );
        assert!(svg.starts_with("<svg width=\"120\"") && svg.ends_with("</svg>\n"));
        assert_eq!(measures(&svg), (120.0, 15.0));
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("one two three", 0.56 * 8.0, 1.0), ["one two", "three"]);
        assert!(wrap("", 100.0, 1.0).is_empty());
    }
}
