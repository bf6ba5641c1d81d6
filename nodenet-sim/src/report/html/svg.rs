//! SVG drawing: plots with axes, bars and lines, and the ring of nodes.

use core::fmt::Write;

/// Size of a plot, in units of its view box.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// A plot with a vertical axis from zero.
pub(super) struct Plot {
    text: String,
    width: f64,
    y_max: f64,
}

/// A mark on an axis.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

impl Plot {
    /// An empty plot; a `wide` plot fills the page.
    pub(super) fn new(name: &str, y_max: f64, wide: bool) -> Self {
        let width = if wide { 2.0 * WIDTH } else { WIDTH };
        let text =
            format!("<svg viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">");
        Self { text, width, y_max: if y_max > 0.0 { y_max } else { 1.0 } }
    }

    /// Horizontal position of a share (0 to 1) of the plot.
    pub(super) fn x(&self, share: f64) -> f64 {
        LEFT + share * (self.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.y_max * (HEIGHT - TOP - BOTTOM)
    }

    pub(super) fn y_axis(&mut self, ticks: &[Tick]) {
        for Tick { at, label } in ticks {
            let (y, right) = (self.y(*at), self.width - RIGHT);
            let class = if *at == 0.0 { "axis" } else { "grid-line" };
            let _ = write!(
                self.text,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
    }

    /// Labels below the plot, at shares of its width.
    pub(super) fn x_axis(&mut self, ticks: &[Tick]) {
        for Tick { at, label } in ticks {
            let _ = write!(
                self.text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                self.x(*at),
                HEIGHT - BOTTOM + 20.0
            );
        }
    }

    /// A bar around a share of the width.
    pub(super) fn bar(&mut self, at: f64, width: f64, value: f64, color: &str, title: &str) {
        let top = self.y(value);
        let height = (HEIGHT - BOTTOM - top).max(0.0);
        let _ = write!(
            self.text,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" \
             fill=\"var(--{color})\"><title>{title}</title></rect>",
            self.x(at) - width / 2.0
        );
    }

    /// A line through points, each a share of the width, a value and a title.
    pub(super) fn line(&mut self, points: &[(f64, f64, String)], color: &str, dashed: bool) {
        let path: Vec<_> =
            points.iter().map(|&(x, y, _)| format!("{:.1},{:.1}", self.x(x), self.y(y))).collect();
        let dash = if dashed { " stroke-dasharray=\"5 5\"" } else { "" };
        let _ = write!(
            self.text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"var(--{color})\" stroke-width=\"2.5\" \
             stroke-linejoin=\"round\"{dash}/>",
            path.join(" ")
        );
        for (x, y, title) in points {
            let _ = write!(
                self.text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\" fill=\"var(--{color})\" \
                 stroke=\"var(--card)\" stroke-width=\"1.5\"><title>{title}</title></circle>",
                self.x(*x),
                self.y(*y)
            );
        }
    }

    /// A label beside a point of the plot.
    pub(super) fn label(
        &mut self,
        (x, value): (f64, f64),
        dy: f64,
        text: &str,
        (anchor, color): (&str, &str),
    ) {
        let _ = write!(
            self.text,
            "<text class=\"name\" style=\"fill:var(--{color})\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"{anchor}\">{text}</text>",
            self.x(x),
            self.y(value) + dy
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

/// Round marks from zero to a bit above `max`, about five of them.
pub(super) fn round_ticks(max: f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
    let max = if max > 0.0 { max } else { 1.0 };
    let (mut tens, mut tenths) = (1.0, 1.0);
    while max / tens > 50.0 {
        tens *= 10.0;
    }
    while max * tenths < 5.0 {
        tenths *= 10.0;
    }
    let max = max / tens * tenths;
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| max / step <= 6.0).unwrap_or(10.0);
    let count = (max / step) as usize + 1;
    // Whole numbers until a single division: three steps of 0.2 are 0.6, and not
    // 0.6000000000000001.
    let marks = (0..=count).map(|i| i as f64 * step * tens / tenths);
    marks.map(|at| Tick { at, label: label(at) }).collect()
}

/// Rows of horizontal bars, each with a name and a value as text.
pub(super) fn rows(name: &str, rows: &[(&str, f64, String)]) -> String {
    const ROW: f64 = 27.0;
    let height = ROW * rows.len() as f64 + 4.0;
    let max = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut text =
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{name}\">");
    for (at, (name, value, words)) in rows.iter().enumerate() {
        let top = ROW * at as f64 + 4.0;
        let width = (value / max * (WIDTH - 100.0 - 80.0)).max(1.0);
        let _ = write!(
            text,
            "<text x=\"92\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"100\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"3\" \
             fill=\"var(--k{at})\"/>\
             <text class=\"strong\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>",
            y = top + 13.5,
            x = 108.0 + width,
        );
    }
    text.push_str("</svg>");
    text
}

/// Nodes on a circle and chords between some of them. Positions are the first 32 bits of an
/// identifier, clockwise from the top.
pub(super) fn ring(nodes: &[u32], chords: &[(u32, u32)]) -> String {
    const CENTER: f64 = 260.0;
    const RADIUS: f64 = 236.0;
    let place = |position: u32, radius: f64| {
        let (sin, cos) = circle(position);
        (CENTER + radius * sin, CENTER - radius * cos)
    };
    let mut text = format!(
        "<svg viewBox=\"0 0 1040 {0}\" role=\"img\" aria-label=\"the ring\">\
         <g transform=\"translate(260 0)\"><circle cx=\"{CENTER}\" cy=\"{CENTER}\" r=\"{RADIUS}\" \
         fill=\"none\" class=\"axis\"/>",
        2.0 * CENTER
    );
    let mut stars: Vec<u32> = chords.iter().map(|chord| chord.0).collect();
    stars.dedup();
    for (from, to) in chords {
        let color = stars.iter().position(|star| star == from).unwrap_or(0) % 6;
        let ((x1, y1), (x2, y2)) = (place(*from, RADIUS), place(*to, RADIUS));
        // Curved towards the middle, so that near and far neighbours look different.
        let (cx, cy) = (CENTER * 0.55 + (x1 + x2) * 0.225, CENTER * 0.55 + (y1 + y2) * 0.225);
        let _ = write!(
            text,
            "<path d=\"M{x1:.1} {y1:.1}Q{cx:.1} {cy:.1} {x2:.1} {y2:.1}\" fill=\"none\" \
             stroke=\"var(--k{color})\" stroke-width=\"1.2\" stroke-opacity=\".55\"/>"
        );
    }
    for node in nodes {
        let (x, y) = place(*node, RADIUS);
        let star = stars.iter().position(|star| star == node);
        let radius = if star.is_some() { 6.0 } else { 2.6 };
        let color = star.map_or("ref".to_owned(), |at| format!("k{}", at % 6));
        let _ = write!(
            text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"var(--{color})\"/>"
        );
    }
    text.push_str("</g></svg>");
    text
}

/// Sine and cosine of a part of 2^32 of a turn, by their series: the same on every platform.
fn circle(position: u32) -> (f64, f64) {
    let quarter = position >> 30;
    let angle =
        f64::from(position & 0x3fff_ffff) / f64::from(1_u32 << 30) * core::f64::consts::FRAC_PI_2;
    let square = angle * angle;
    let series = |first: f64, odd: u32| {
        let mut term = first;
        let mut sum = first;
        for i in 1..9_u32 {
            let n = f64::from(2 * i + odd);
            term *= -square / (n * (n - 1.0));
            sum += term;
        }
        sum
    };
    let (sin, cos) = (series(angle, 1), series(1.0, 0));
    match quarter {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// The binary logarithm, digit by digit: the same on every platform.
pub(super) fn log2(number: u64) -> f64 {
    let whole = number.max(1).ilog2();
    let mut rest = number.max(1) as f64 / (1_u64 << whole) as f64;
    let mut sum = f64::from(whole);
    let mut digit = 0.5;
    for _ in 0..24 {
        rest *= rest;
        if rest >= 2.0 {
            rest /= 2.0;
            sum += digit;
        }
        digit /= 2.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Tick, circle, log2, round_ticks};

    #[test]
    fn the_series_are_close_to_the_functions() {
        for i in 0..64_u32 {
            let position = i << 26 | 12_345;
            let turn = f64::from(position) / 4_294_967_296.0 * core::f64::consts::TAU;
            let (sin, cos) = circle(position);
            assert!((sin - turn.sin()).abs() < 1e-9 && (cos - turn.cos()).abs() < 1e-9);
        }
        for number in [1_u64, 2, 3, 10, 1_000, 100_000] {
            assert!((log2(number) - (number as f64).log2()).abs() < 1e-6);
        }
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        for max in [0.03, 0.7, 1.0, 7.0, 19.5, 100.0, 34_567.0] {
            let ticks = round_ticks(max, |at| at.to_string());
            for Tick { label, .. } in &ticks {
                assert!(label.len() <= 5, "{label} is not round, of {max}");
            }
            assert!((3..=8).contains(&ticks.len()), "{max}: {}", ticks.len());
            assert!(ticks.last().is_some_and(|tick| tick.at >= max * 0.999));
        }
    }
}
