//! Path data, compact: coordinates rounded to the precision of the medium, relative, and without
//! points that do not change the drawing.

/// Coordinates farther away are drawn at this distance: outside of every plot, and small enough for
/// all renderers.
const FAR: f64 = 20_000.0;

/// Path data in work. Coordinates are whole multiples of 10^-decimals.
pub struct PathData {
    decimals: usize,
    out: String,
    /// Points of the open subpath that are not written yet: at most two, of which the second may
    /// still be passed over if the next one lies beyond it on the same line.
    last: Option<(i64, i64)>,
    pending: Option<(i64, i64)>,
}

impl PathData {
    pub fn new(decimals: usize) -> Self {
        PathData { decimals, out: String::new(), last: None, pending: None }
    }

    /// Begins a subpath at the next point.
    pub fn lift(&mut self) {
        self.flush();
        self.last = None;
    }

    /// Begins a subpath, or draws a line from the point before. A point that is no number begins a
    /// new subpath.
    pub fn to(&mut self, x: f64, y: f64) {
        if x.is_nan() || y.is_nan() {
            return self.lift();
        }
        let point = (self.rounded(x), self.rounded(y));
        let Some(last) = self.last else {
            self.out.push('M');
            self.push(point.0, false);
            self.push(point.1, true);
            self.last = Some(point);
            return;
        };
        match self.pending {
            None if point == last => {}
            Some(pending) if point == pending => {}
            Some(pending) if !passes_through(last, pending, point) => {
                self.flush();
                self.pending = Some(point);
            }
            _ => self.pending = Some(point),
        }
    }

    /// Closes the subpath.
    pub fn close(&mut self) {
        self.flush();
        if self.last.take().is_some() {
            self.out.push('Z');
        }
    }

    pub fn finish(mut self) -> String {
        self.flush();
        self.out
    }

    fn rounded(&self, value: f64) -> i64 {
        (value.clamp(-FAR, FAR) * 10f64.powi(self.decimals as i32)).round() as i64
    }

    fn flush(&mut self) {
        let (Some(last), Some(point)) = (self.last, self.pending.take()) else { return };
        let (dx, dy) = (point.0 - last.0, point.1 - last.1);
        if dy == 0 {
            self.out.push('h');
            self.push(dx, false);
        } else if dx == 0 {
            self.out.push('v');
            self.push(dy, false);
        } else {
            self.out.push('l');
            self.push(dx, false);
            self.push(dy, true);
        }
        self.last = Some(point);
    }

    /// Writes a number; after another one with a separator where it needs one.
    fn push(&mut self, units: i64, separate: bool) {
        if separate && units >= 0 {
            self.out.push(' ');
        }
        push_units(&mut self.out, units, self.decimals);
    }
}

/// Whether the second of three points lies on the way from the first to the third.
fn passes_through(a: (i64, i64), b: (i64, i64), c: (i64, i64)) -> bool {
    let (first, second) = ((b.0 - a.0, b.1 - a.1), (c.0 - b.0, c.1 - b.1));
    let cross = first.0 * second.1 - first.1 * second.0;
    let dot = first.0 * second.0 + first.1 * second.1;
    cross == 0 && dot > 0
}

/// A whole multiple of 10^-decimals without needless zeros: `-.5`, `12`, `3.25`.
fn push_units(out: &mut String, units: i64, decimals: usize) {
    let text = format!("{:0width$}", units.unsigned_abs(), width = decimals + 1);
    let (integer, fraction) = text.split_at(text.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    if units < 0 {
        out.push('-');
    }
    if integer != "0" || fraction.is_empty() {
        out.push_str(integer);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
}

/// A coordinate or length in at most two decimals.
pub fn coordinate(value: f64) -> String {
    let mut out = String::new();
    push_units(&mut out, (value.clamp(-FAR, FAR) * 100.0).round() as i64, 2);
    out
}
