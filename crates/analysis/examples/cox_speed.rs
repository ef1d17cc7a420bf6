//! Fits a time-varying Cox model to intervals of a CSV file with the columns id, start, stop, event
//! and covariates, and prints the least seconds of seven fits, and coefficients.
//! `benches/cox_speed.py` makes the file and compares with lifelines.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use analysis::survival::cox::{self, CoxOptions};
use analysis::survival::{Covariates, RiskData, RobustErrors};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: cox_speed FILE.csv")?;
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().ok_or("the file is empty")?.split(',').collect();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for line in lines {
        for (column, field) in columns.iter_mut().zip(line.split(',')) {
            column.push(field.parse()?);
        }
    }
    let covariates = columns.split_off(4);
    let named = names[4..].iter().map(|name| (*name).to_owned()).zip(covariates);
    let covariates = Covariates::from_columns(named.collect())?;
    let data = RiskData {
        start: columns[1].clone(),
        stop: columns[2].clone(),
        cause: columns[3].iter().map(|event| *event as u32).collect(),
        subjects: columns[0].iter().map(|id| *id as u32).collect(),
        ..RiskData::default()
    };
    let mut out = std::io::stdout();
    for robust in [RobustErrors::None, RobustErrors::SmallSample] {
        let options = CoxOptions { robust, ..CoxOptions::default() };
        let mut seconds = f64::INFINITY;
        let mut fit = cox::fit(&data, &covariates, &options)?;
        for _ in 1..7 {
            let began = Instant::now();
            fit = cox::fit(&data, &covariates, &options)?;
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        let (rows, events, iterations) = (fit.rows, fit.events, fit.iterations);
        write!(out, "vendomini, robust errors {robust:?}: {seconds:.3} s, {rows} rows, ")?;
        writeln!(out, "{events} events, {iterations} iterations")?;
        for coefficient in &fit.coefficients {
            writeln!(out, "  {}: {:.8}", coefficient.name, coefficient.coef)?;
        }
    }
    Ok(())
}
