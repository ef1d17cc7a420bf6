//! Order statistics.

/// The median; `sorted` has at least one value.
pub fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]) }
}

/// The value at position (n + 1) p of the sorted values, interpolated, as bootstrap intervals use
/// (Davison and Hinkley 1997, section 5.3); `sorted` has at least one value.
pub fn bootstrap_quantile(sorted: &[f64], p: f64) -> f64 {
    at_position(sorted, (sorted.len() as f64 + 1.0) * p - 1.0)
}

/// The value at position (n - 1) p counted from 0, interpolated: the common sample quantile (type 7
/// of Hyndman and Fan 1996); `sorted` has at least one value.
pub fn sample_quantile(sorted: &[f64], p: f64) -> f64 {
    at_position(sorted, (sorted.len() as f64 - 1.0) * p)
}

fn at_position(sorted: &[f64], position: f64) -> f64 {
    let position = position.clamp(0.0, sorted.len() as f64 - 1.0);
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation; 0 of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let center = mean(values);
    let sum: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (sum / (values.len() as f64 - 1.0)).sqrt()
}
