//! The dashboard of a running experiment, rendered from its figures as rows of text.

use super::stage_bar::duration;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::{Constraint, Rect};
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget;
use ratatui_widgets::block::Block;
use ratatui_widgets::borders::Borders;
use ratatui_widgets::paragraph::Paragraph;
use ratatui_widgets::table::{Row, Table};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use watch::Figures;

/// Rates are averages over this time window.
const WINDOW: Duration = Duration::from_secs(60);
/// Most samples kept for the time window.
const POINTS_MAX: usize = 128;
/// Columns and rows of the smallest terminal on which the dashboard is drawn.
pub const COLUMNS_MIN: u16 = 60;
pub const ROWS_MIN: u16 = 16;
/// Rows of the frame and of the overall figures.
const HEAD_ROWS: u16 = 6;

/// Renders the dashboard. Keeps samples of counters, from which the rates are computed; all other
/// values are in [`Figures`].
pub struct Dashboard {
    points: VecDeque<Point>,
}

#[derive(Clone, Copy)]
struct Point {
    at: Instant,
    steps: u64,
    tokens: u64,
}

impl Dashboard {
    pub fn new() -> Dashboard {
        Dashboard { points: VecDeque::new() }
    }

    /// Samples the counters from which rates are computed.
    pub fn record(&mut self, figures: &Figures, at: Instant) {
        let due = self.points.back().is_none_or(|last| at - last.at >= WINDOW / POINTS_MAX as u32);
        if due {
            self.points.push_back(Point { at, steps: figures.steps, tokens: figures.reply_tokens });
        }
        while self.points.len() > 1
            && self.points.get(1).is_some_and(|second| at - second.at >= WINDOW)
        {
            self.points.pop_front();
        }
    }

    /// Renders the dashboard for a terminal of this many columns and rows, with the rates at time
    /// `at`.
    pub fn rows(&self, figures: &Figures, (columns, rows): (u16, u16), at: Instant) -> Buffer {
        let runs = (figures.runs.len() as u16).min((rows / 2).saturating_sub(HEAD_ROWS)).min(16);
        let height =
            HEAD_ROWS + figures.tiers.len().min(4) as u16 + if runs > 0 { runs + 1 } else { 0 };
        let area = Rect::new(0, 0, columns, height);
        let mut buffer = Buffer::empty(area);
        let block = Block::new()
            .borders(Borders::ALL)
            .title(Line::from(format!(" {} ", figures.model)).style(bold()));
        let inside = block.inner(area);
        block.render(area, &mut buffer);
        let mut lines = self.head(figures, inside.width, at);
        lines.extend(figures.tiers.iter().take(4).map(tier));
        let head = Rect { height: lines.len() as u16, ..inside };
        Paragraph::new(lines).render(head, &mut buffer);
        let below = Rect { y: head.y + head.height, height: inside.height - head.height, ..inside };
        table(figures, runs as usize).render(below, &mut buffer);
        buffer
    }

    fn head(&self, f: &Figures, width: u16, at: Instant) -> Vec<Line<'static>> {
        let (steps_per_s, tokens_per_s) = self.rates(f, at);
        let left = f.steps_left();
        let eta = match steps_per_s {
            Some(rate) if left > 0 => format!("at most {}", duration(left as f64 / rate)),
            _ => "-".to_owned(),
        };
        let pe = if f.pe_steps == 0 {
            "-".to_owned()
        } else {
            format!("{:.3}", f.pe_sum / f.pe_steps as f64)
        };
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let crashes: Vec<String> =
            f.crashes.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let crashes = if crashes.is_empty() { "none".to_owned() } else { crashes.join(", ") };
        let failed = match f.failures {
            0 => Span::raw("0"),
            n => Span::styled(n.to_string(), Style::new().fg(Color::Red)),
        };
        vec![
            bar(f, width),
            Line::from(vec![
                name("runs "),
                Span::raw(format!("{}/{}", f.runs_done, f.runs_total)),
                name("  in flight "),
                Span::raw(f.runs.len().to_string()),
                name("  elsewhere "),
                Span::raw(f.held.to_string()),
                name("  failed "),
                failed,
                name("  ETA "),
                Span::raw(eta),
            ]),
            Line::from(vec![
                name("steps/s "),
                Span::raw(rate(steps_per_s)),
                name("  tok/s "),
                Span::raw(rate(tokens_per_s)),
                name("  PE "),
                Span::raw(pe),
                name("  parse failures "),
                Span::raw(f.parse_failures.to_string()),
                name("  cached "),
                Span::raw(share(f.cached_prompt_tokens, f.prompt_tokens)),
            ]),
            Line::from(vec![
                name("crashes "),
                Span::styled(crashes, Style::new().fg(Color::Yellow)),
            ]),
        ]
    }

    /// Steps and reply tokens per second over the time window; `None` for a counter that has not
    /// grown.
    fn rates(&self, f: &Figures, at: Instant) -> (Option<f64>, Option<f64>) {
        let Some(first) = self.points.front() else { return (None, None) };
        let seconds = (at - first.at).as_secs_f64();
        let rate = |now: u64, then: u64| {
            (now > then && seconds > 0.0).then(|| (now - then) as f64 / seconds)
        };
        (rate(f.steps, first.steps), rate(f.reply_tokens, first.tokens))
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn name(text: &'static str) -> Span<'static> {
    Span::styled(text, Style::new().add_modifier(Modifier::DIM))
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.0}%", 100.0 * part as f64 / whole as f64) }
}

/// A progress bar: the share of steps done, or the share of runs done if the number of steps is
/// unknown.
fn bar(f: &Figures, width: u16) -> Line<'static> {
    let share = 1.0 - f.steps_left() as f64 / f.steps_max.max(1) as f64;
    let share =
        if f.steps_max == 0 { f.runs_done as f64 / f.runs_total.max(1) as f64 } else { share };
    let cells = usize::from(width.saturating_sub(6));
    let full = ((cells as f64 * share.clamp(0.0, 1.0)) as usize).min(cells);
    Line::from(vec![
        Span::styled("█".repeat(full), Style::new().fg(Color::Green)),
        Span::styled("░".repeat(cells - full), Style::new().add_modifier(Modifier::DIM)),
        Span::raw(format!(" {:3.0}%", 100.0 * share)),
    ])
}

fn tier(tier: &watch::TierFigures) -> Line<'static> {
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / (1_u64 << 30) as f64);
    Line::from(vec![
        name("memory "),
        Span::raw(tier.tier.clone()),
        name("  weights "),
        Span::raw(gib(tier.weights_bytes)),
        name("  KV "),
        Span::raw(gib(tier.kv_bytes)),
        name("  activations "),
        Span::raw(gib(tier.activations_bytes)),
    ])
}

fn table(f: &Figures, runs: usize) -> Table<'static> {
    let rows = f.runs.iter().take(runs).map(|(id, run)| {
        let crashed = Style::new().fg(if run.crashes > 0 { Color::Yellow } else { Color::Reset });
        let pe = run.pe.map_or("-".to_owned(), |pe| format!("{pe:.3}"));
        let id: String = id.chars().take(12).collect();
        Row::new([id, format!("{}/{}", run.step, run.steps_max), pe, run.crashes.to_string()])
            .style(crashed)
    });
    let widths = [
        Constraint::Length(14),
        Constraint::Length(16),
        Constraint::Length(10),
        Constraint::Min(8),
    ];
    let head =
        Row::new(["run", "step", "PE", "crashes"]).style(Style::new().add_modifier(Modifier::DIM));
    Table::new(rows, widths).header(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use watch::{RunFigures, TierFigures};

    fn figures() -> Figures {
        Figures {
            model: "smollm2".into(),
            runs_total: 20,
            runs_done: 5,
            steps_max: 1000,
            steps: 200,
            steps_spared: 50,
            reply_tokens: 3000,
            pe_sum: 1.5,
            pe_steps: 10,
            crashes: [("looping".to_owned(), 2)].into(),
            tiers: vec![TierFigures {
                tier: "CPU".into(),
                weights_bytes: 3 << 29,
                ..TierFigures::default()
            }],
            runs: [(
                "abc".to_owned(),
                RunFigures { step: 7, steps_max: 50, pe: Some(0.25), crashes: 1 },
            )]
            .into(),
            ..Figures::default()
        }
    }

    fn rows_text(rows: &Buffer) -> String {
        let width = usize::from(rows.area.width);
        let rows: Vec<String> = rows
            .content()
            .chunks(width)
            .map(|row| row.iter().map(|cell| cell.symbol()).collect())
            .collect();
        rows.join("\n")
    }

    #[test]
    fn every_figure_is_shown() {
        let (mut dashboard, begin) = (Dashboard::new(), Instant::now());
        dashboard.record(&Figures { steps: 100, reply_tokens: 1000, ..figures() }, begin);
        let later = begin + Duration::from_secs(10);
        dashboard.record(&figures(), later);
        let shown = rows_text(&dashboard.rows(&figures(), (100, 40), later));
        for text in [
            "smollm2",
            "5/20",
            "steps/s 10.0",
            "tok/s 200.0",
            "PE 0.150",
            "looping 2",
            "weights 1.50 GiB",
            "7/50",
            "25%",
        ] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        // 750 remaining steps at 10 steps per second.
        assert!(shown.contains(&format!("ETA at most {}", duration(75.0))), "{shown}");
    }

    #[test]
    fn five_hundred_runs_fit_the_smallest_terminal() {
        let mut many = figures();
        many.runs = (0..500).map(|run| (format!("{run:020}"), RunFigures::default())).collect();
        let rows = Dashboard::new().rows(&many, (COLUMNS_MIN, ROWS_MIN), Instant::now());
        assert!(rows.area.height < ROWS_MIN, "{:?}", rows.area);
    }

    #[test]
    fn rates_forget_samples_older_than_the_window() {
        let (mut dashboard, begin) = (Dashboard::new(), Instant::now());
        for second in 0..300 {
            dashboard.record(
                &Figures { steps: 10 * second, ..Figures::default() },
                begin + Duration::from_secs(second),
            );
        }
        assert!(dashboard.points.len() <= POINTS_MAX);
        let now = Figures { steps: 2990, ..Figures::default() };
        let (rate, _) = dashboard.rates(&now, begin + Duration::from_secs(299));
        assert!((rate.expect("a rate") - 10.0).abs() < 0.1, "{rate:?}");
    }
}
