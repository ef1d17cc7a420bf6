//! Where the parts of a figure lie.

use super::at_risk::AtRiskBlock;
use super::axis_map::AxisRange;
use super::canvas::{Canvas, PlotBox};
use super::columns::{ColumnLabels, WIDEST};
use super::direct_labels;
use super::extent::Extent;
use super::forest::EstimateColumn;
use super::head::Head;
use super::legend::Legend;
use super::medium::Medium;
use super::rows::RowLabels;
use super::series::SeriesTable;
use super::text_width::{width, wrapped};
use super::ticks::Tick;
use analysis::document::{Figure, Layer};

/// A figure, laid out for a medium.
pub struct Layout<'a> {
    pub canvas: Canvas<'a>,
    pub height: f64,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    pub x_label: Vec<String>,
    pub head: Head,
    pub rows: RowLabels,
    pub columns: ColumnLabels,
    /// Labels at the ends of lines instead of a legend.
    pub labels_are_direct: bool,
    pub legend: Legend,
    pub estimates: EstimateColumn,
    pub at_risk: AtRiskBlock,
}

impl<'a> Layout<'a> {
    pub fn of(figure: &'a Figure, medium: Medium, id: &str) -> Self {
        let series = SeriesTable::of(figure);
        let extent = Extent::of(figure);
        let x_range = AxisRange::of(&figure.x, extent.x, !has_lines(figure));
        let y_range = AxisRange::of(&figure.y, extent.y, true);
        let font = medium.font();

        let labels_are_direct = direct_labels::are_possible(figure, &series, &x_range, medium);
        let rows = RowLabels::of(figure, medium);
        let estimates = EstimateColumn::of(figure, medium, &rows);
        let at_risk = AtRiskBlock::of(figure, medium);

        // Horizontally: labels of rows or ticks, the plot, labels of lines or estimates.
        let y_ticks = if figure.y.categories.is_empty() { y_range.ticks(6) } else { Vec::new() };
        let tick_width = y_ticks.iter().map(|tick| width(&tick.label, font)).fold(0.0, f64::max);
        let left = (tick_width + 10.0).max(rows.left()).max(at_risk.left());
        let right = if labels_are_direct {
            direct_labels::room(&series, font)
        } else {
            estimates.room().max(at_risk.right())
        };
        let right_end = medium.width() - right.max(8.0);
        let columns = ColumnLabels::of(&figure.x, left, right_end, medium);
        let left = left.max(columns.overhang());
        let plot_width = plot_width(figure, right_end - left);
        let x_ticks = if figure.x.categories.is_empty() {
            spaced_ticks(&x_range, plot_width, medium)
        } else {
            Vec::new()
        };
        // The last label may reach beyond the end of the axis.
        let half = x_ticks.last().map_or(0.0, |tick| width(&tick.label, font) / 2.0);
        let plot_width = plot_width.min(medium.width() - left - half.min(24.0));

        // Vertically: legend, names above the plot, plot, ticks, x axis name, numbers at risk.
        let legend = Legend::of(figure, &series, medium, labels_are_direct);
        let x = x_range.map(left, left + plot_width);
        let head = Head::of(figure, &x, medium);
        let top = legend.height() + head.height();
        let plot_height = plot_height(figure, medium, &rows, plot_width);
        let plot = PlotBox { left, top, right: left + plot_width, bottom: top + plot_height };
        let x_label = wrapped(&figure.x.label, font, medium.width() - 8.0, 2);
        let below = columns.height().max(if x_ticks.is_empty() { 0.0 } else { 8.0 + font })
            + x_label.len() as f64 * medium.line()
            + 8.0;
        let height = plot.bottom + below + at_risk.height();

        // The first category is at the top.
        let (y_from, y_to) = match figure.y.categories.is_empty() {
            true => (plot.bottom, plot.top),
            false => (plot.top, plot.bottom),
        };
        let y = y_range.map(y_from, y_to);
        let id = format!("{id}-{}", medium.suffix());
        let canvas = Canvas { figure, medium, series, plot, x, y, id };
        Layout {
            canvas,
            height,
            x_ticks,
            y_ticks,
            x_label,
            head,
            rows,
            columns,
            labels_are_direct,
            legend,
            estimates,
            at_risk,
        }
    }
}

/// Whether the figure has curves or bars, which use the whole x axis.
fn has_lines(figure: &Figure) -> bool {
    let fills = |layer: &Layer| {
        matches!(
            layer,
            Layer::Steps { .. } | Layer::Line { .. } | Layer::Band { .. } | Layer::Bars { .. }
        )
    };
    figure.layers.iter().any(fills)
}

/// As many ticks as fit without touching labels.
fn spaced_ticks(range: &AxisRange, room: f64, medium: Medium) -> Vec<Tick> {
    let font = medium.font();
    let distance = if medium == Medium::Wide { 72.0 } else { 46.0 };
    let most = (room / distance).floor().clamp(2.0, 12.0) as usize;
    for most in (2..=most).rev() {
        let ticks = range.ticks(most);
        let map = range.map(0.0, room);
        let clear = |pair: &[Tick]| {
            let gap = (map.place(pair[1].at) - map.place(pair[0].at)).abs();
            gap >= (width(&pair[0].label, font) + width(&pair[1].label, font)) / 2.0 + 8.0
        };
        if ticks.windows(2).all(clear) {
            return ticks;
        }
    }
    range.ticks(1)
}

/// Width of the plot: all of the room; less for a matrix with few columns.
fn plot_width(figure: &Figure, room: f64) -> f64 {
    match figure.x.categories.len() {
        0 => room.max(40.0),
        n => room.min(n as f64 * WIDEST).max(40.0),
    }
}

fn plot_height(figure: &Figure, medium: Medium, rows: &RowLabels, plot_width: f64) -> f64 {
    let rows_of_matrix = figure.y.categories.len() as f64;
    match (figure.x.categories.len(), figure.y.categories.len()) {
        (_, 0) => medium.plot_height(),
        (0, _) => rows.plot_height(),
        (columns, _) => {
            let cell = (plot_width / columns as f64 * 0.7).clamp(24.0, 44.0);
            rows_of_matrix * cell
        }
    }
}
