//! The design matrix of a regression: an intercept and standardized covariates, which keeps the
//! normal equations well conditioned whatever the covariates' units are.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::survival::Covariates;
use nalgebra::{DMatrix, DVector};

/// A column whose part that the columns before it do not explain is below this share of its size
/// is a combination of them.
const COLLINEAR_MAX: f64 = 1e-8;
/// One cluster of several with a larger share of a covariate's variation decides its coefficient.
const LEVERAGE_MAX: f64 = 0.6;

/// n x k values: a column of ones, then each covariate less its mean, over its standard deviation.
pub(super) struct DesignMatrix {
    /// `(intercept)`, then the names of the covariates.
    pub names: Vec<String>,
    pub z: DMatrix<f64>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl DesignMatrix {
    /// # Errors
    /// The values do not fit names and rows, a value is not finite, a covariate is constant or a
    /// combination of those before it, or there are no more rows than columns.
    pub fn new(covariates: &Covariates, rows: usize) -> Result<DesignMatrix, AnalysisError> {
        let k = covariates.names.len();
        check_lengths(
            ("the covariates (values)", covariates.values.len()),
            ("the outcome (times covariates)", rows * k),
        )?;
        let mut design = DesignMatrix {
            names: vec!["(intercept)".to_owned()],
            z: DMatrix::from_element(rows, k + 1, 1.0),
            means: Vec::with_capacity(k),
            scales: Vec::with_capacity(k),
        };
        if rows <= k + 1 {
            let text = format!("{rows} rows for {} coefficients: expected more rows", k + 1);
            return Err(not_estimable(text));
        }
        for (at, name) in covariates.names.iter().enumerate() {
            let column: Vec<f64> = (0..rows).map(|row| covariates.values[row * k + at]).collect();
            check_finite(name, &column)?;
            design.push(name, at + 1, &column)?;
        }
        design.check_rank()?;
        Ok(design)
    }

    fn push(&mut self, name: &str, at: usize, column: &[f64]) -> Result<(), AnalysisError> {
        let n = column.len() as f64;
        let mean = column.iter().sum::<f64>() / n;
        let scale = (column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        if !scale.is_finite() || scale <= 1e-12 * mean.abs() {
            return Err(not_estimable(format!("{name} does not vary: it has no coefficient")));
        }
        for (row, value) in column.iter().enumerate() {
            self.z[(row, at)] = (value - mean) / scale;
        }
        self.names.push(name.to_owned());
        self.means.push(mean);
        self.scales.push(scale);
        Ok(())
    }

    fn check_rank(&self) -> Result<(), AnalysisError> {
        let size = (self.rows() as f64).sqrt();
        let r = self.z.clone().qr().r();
        match (0..self.columns()).find(|at| r[(*at, *at)].abs() < COLLINEAR_MAX * size) {
            None => Ok(()),
            Some(at) => {
                let (name, before) = (&self.names[at], self.names[..at].join(", "));
                Err(not_estimable(format!("{name} is a combination of {before}: leave one out")))
            }
        }
    }

    pub fn rows(&self) -> usize {
        self.z.nrows()
    }

    pub fn columns(&self) -> usize {
        self.z.ncols()
    }

    /// Standard deviation by which a covariate, counted from 0, was divided.
    pub fn scale(&self, covariate: usize) -> f64 {
        self.scales[covariate]
    }

    /// The matrix that turns coefficients of `z` into those of the covariates as given (k x k).
    pub fn to_given_units(&self) -> DMatrix<f64> {
        let mut transform = DMatrix::identity(self.columns(), self.columns());
        for (at, (mean, scale)) in self.means.iter().zip(&self.scales).enumerate() {
            transform[(at + 1, at + 1)] = 1.0 / scale;
            transform[(0, at + 1)] = -mean / scale;
        }
        transform
    }
}

/// (X'X)^-1, by way of QR. The columns of X have full rank, as [`DesignMatrix`] checks.
pub(super) fn inverse_gram(x: &DMatrix<f64>) -> Result<DMatrix<f64>, AnalysisError> {
    let r = x.clone().qr().r();
    let identity = DMatrix::identity(r.nrows(), r.ncols());
    let inverse = r
        .solve_upper_triangular(&identity)
        .ok_or_else(|| not_estimable("the covariates are combinations of each other"))?;
    Ok(&inverse * inverse.transpose())
}

/// Sum over clusters of s s', s the sum of the cluster's row scores x_i times u_i (k x k).
pub(super) fn cluster_meat(x: &DMatrix<f64>, u: &[f64], clusters: &ClusterIndex) -> DMatrix<f64> {
    let k = x.ncols();
    let mut meat = DMatrix::<f64>::zeros(k, k);
    for rows in &clusters.members {
        let mut score = DVector::<f64>::zeros(k);
        for row in rows {
            for at in 0..k {
                score[at] += x[(*row, at)] * u[*row];
            }
        }
        meat += &score * score.transpose();
    }
    meat
}

/// G (n - 1) / ((G - 1) (n - k)), the correction of CR1 errors.
pub(super) fn cr1_factor(clusters: usize, rows: usize, columns: usize) -> f64 {
    let (g, n, k) = (clusters as f64, rows as f64, columns as f64);
    g * (n - 1.0) / ((g - 1.0) * (n - k))
}

/// Names covariates whose variation, less what the others explain of it, lies mostly in one
/// cluster: the robust error then misses the variance of that cluster (MacKinnon, Nielsen and Webb
/// 2023, section 8.1: partial leverage). `bread` is (Z'Z)^-1.
pub(super) fn leverage_cautions(
    design: &DesignMatrix,
    bread: &DMatrix<f64>,
    clusters: &ClusterIndex,
) -> Vec<FitWarning> {
    let partial = &design.z * bread;
    let of_cluster = |rows: &Vec<usize>, at: usize| -> f64 {
        rows.iter().map(|row| partial[(*row, at)].powi(2)).sum()
    };
    let mut warnings = Vec::new();
    for at in 1..design.columns() {
        let squares: Vec<f64> = clusters.members.iter().map(|rows| of_cluster(rows, at)).collect();
        let share = squares.iter().copied().fold(0.0, f64::max) / squares.iter().sum::<f64>();
        if share > LEVERAGE_MAX {
            let text = format!(
                "one world of {} has {:.0}% of the variation of {}: its error is too small, as it \
                 leaves out how worlds differ",
                clusters.len(),
                100.0 * share,
                design.names[at]
            );
            warnings.push(FitWarning { code: "one_world_decides", text });
        }
    }
    warnings
}

pub(super) fn to_rows(matrix: &DMatrix<f64>) -> Vec<Vec<f64>> {
    matrix.row_iter().map(|row| row.iter().copied().collect()).collect()
}
