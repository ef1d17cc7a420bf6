//! Names of lines and areas at their right ends, instead of a legend.

use super::axis_map::AxisRange;
use super::canvas::Canvas;
use super::legend::{SWATCH, Swatch};
use super::medium::Medium;
use super::series::{SeriesTable, is_area, is_line, series_name};
use super::text_width::width;
use super::writer::{Anchor, SvgWriter};
use analysis::document::{Figure, Layer};

const MOST: usize = 8;
const LONGEST: f64 = 190.0;

/// Whether each series has one line or area, which ends at the right end of the x axis.
pub fn are_possible(figure: &Figure, series: &SeriesTable, x: &AxisRange, medium: Medium) -> bool {
    let font = medium.font();
    let map = x.map(0.0, 1.0);
    let at_the_end = |name: &String| {
        let mut ends = figure.layers.iter().filter(|layer| is_named(figure, layer, name));
        let only = ends.next();
        let last = only.and_then(last_place).map_or(0.0, |(x, _)| map.place(x));
        ends.next().is_none() && (0.94..1.001).contains(&last) && width(name, font) <= LONGEST
    };
    medium == Medium::Wide
        && (1..=MOST).contains(&series.names.len())
        && series.names.iter().all(at_the_end)
}

/// Whether the layer is the line or area that the name of a series belongs to.
fn is_named(figure: &Figure, layer: &Layer, name: &str) -> bool {
    series_name(layer) == Some(name) && (is_line(layer) || is_area(figure, layer))
}

/// The last point of a line; the middle of the end of an area.
fn last_place(layer: &Layer) -> Option<(f64, f64)> {
    match layer {
        Layer::Steps { points, .. } | Layer::Line { points, .. } => {
            points.iter().rev().find(|(x, y)| x.is_finite() && y.is_finite()).copied()
        }
        Layer::Band { points, .. } => {
            let finite = |point: &&(f64, f64, f64)| point.1.is_finite() && point.2.is_finite();
            points.iter().rev().find(finite).map(|(x, low, high)| (*x, (low + high) / 2.0))
        }
        _ => None,
    }
}

/// Room to the right of the plot.
pub fn room(series: &SeriesTable, font: f64) -> f64 {
    let widest = series.names.iter().map(|name| width(name, font)).fold(0.0, f64::max);
    widest + SWATCH + 20.0
}

pub fn draw(svg: &mut SvgWriter, canvas: &Canvas<'_>) {
    let (figure, plot) = (canvas.figure, canvas.plot);
    let mut ends: Vec<(f64, &str)> = Vec::new();
    for name in &canvas.series.names {
        let layer = figure.layers.iter().find(|layer| is_named(figure, layer, name));
        if let Some((_, y)) = layer.and_then(last_place) {
            ends.push((canvas.y.place(y).clamp(plot.top, plot.bottom), name));
        }
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted: Vec<f64> = ends.iter().map(|(y, _)| *y).collect();
    let room = (plot.top + 4.0, plot.bottom - 4.0);
    let places = spread(&wanted, canvas.medium.line() - 1.0, room);
    for ((wanted, name), y) in ends.iter().zip(places) {
        let x = plot.right + 10.0;
        if (wanted - y).abs() > 3.0 {
            svg.line("le", (plot.right + 1.5, *wanted), (x - 1.5, y));
        }
        Swatch::of(figure, name).without_band().draw(svg, canvas, name, (x, y));
        let at = (x + SWATCH + 6.0, y + canvas.medium.font() * 0.35);
        svg.text("dl", Anchor::Start, at, name);
    }
}

/// Moves places, which ascend, as little as needed to be `gap` apart, and inside of the room if
/// they fit there: blocks of touching labels are centered on the mean of their wanted places.
fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    // Each block: sum of the wanted places of its first label, number of labels.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    let first = |(sum, count): (f64, usize)| {
        let length = (count - 1) as f64 * gap;
        (sum / count as f64).min(high - length).max(low)
    };
    for place in wanted {
        let mut block = (*place, 1);
        while let Some(before) = blocks.pop() {
            let length = before.1 as f64 * gap;
            if first(before) + length <= first(block) {
                blocks.push(before);
                break;
            }
            let moved = block.0 - block.1 as f64 * length;
            block = (before.0 + moved, before.1 + block.1);
        }
        blocks.push(block);
    }
    let of_block = |block: (f64, usize)| (0..block.1).map(move |i| first(block) + i as f64 * gap);
    blocks.into_iter().flat_map(of_block).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn labels_keep_their_distance_and_move_little() {
        assert_eq!(spread(&[10.0, 50.0], 16.0, (0.0, 100.0)), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 50.0], 16.0, (0.0, 100.0)), [42.0, 58.0]);
        assert_eq!(spread(&[99.0, 99.0], 16.0, (0.0, 100.0)), [84.0, 100.0]);
        let places = spread(&[0.0, 1.0, 2.0, 40.0, 41.0], 16.0, (0.0, 100.0));
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 16.0 - 1e-9), "{places:?}");
        assert_eq!(places[0], 0.0);
    }
}
