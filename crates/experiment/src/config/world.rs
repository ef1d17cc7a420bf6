//! The world's configuration of a cell.

use super::grid::Cell;
use warehouse::{
    DemandConfig, DetectorConfig, Magnitude, MemoryTools, Observability, PredictionFormat,
    PredictionMode, Pressure, RecoveryTools, ShockConfig, Strictness, TypeMix, WorldConfig,
};

/// The level that a word names; a dead factor (null) takes the first, since it changes nothing.
macro_rules! level {
    ($cell:expr, $key:literal, $kind:ident) => {{
        let word = $cell.text($key);
        $kind::ALL.iter().copied().find(|level| level.label() == word).unwrap_or($kind::ALL[0])
    }};
}

/// The world of a cell. The values were checked when the configuration was resolved.
pub(crate) fn world_config(cell: &Cell) -> WorldConfig {
    let whole = |key: &str| cell.whole(key).unwrap_or(0);
    let small = |key: &str| u32::try_from(whole(key)).unwrap_or(u32::MAX);
    let optional =
        |key: &str| cell.whole(key).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let number = |key: &str| cell.number(key).unwrap_or(0.0);
    WorldConfig {
        complexity_level: u8::try_from(whole("env.complexity_level")).unwrap_or(u8::MAX),
        max_steps: whole("env.max_steps"),
        actions_per_day: optional("env.actions_per_day"),
        initial_budget: number("env.initial_budget"),
        pressure_level: level!(cell, "env.pressure_level", Pressure),
        initial_storage_per_sku: optional("env.initial_storage_per_sku"),
        storage_capacity: small("env.storage_capacity"),
        storage_fee: number("env.storage_fee"),
        delivery_cost: number("env.delivery_cost"),
        demand: DemandConfig {
            p_customer_order: number("demand.p_customer_order"),
            due_days: small("demand.due_days"),
            sale_markup: number("demand.sale_markup"),
            late_penalty: number("demand.late_penalty"),
            expire_after_days: small("demand.expire_after_days"),
            max_failures: small("demand.max_failures"),
        },
        shocks: ShockConfig {
            p_shock: number("pe_induction.p_shock"),
            pe_mag: level!(cell, "pe_induction.pe_mag", Magnitude),
            pe_type_mix: level!(cell, "pe_induction.pe_type_mix", TypeMix),
            observability: level!(cell, "pe_induction.observability", Observability),
        },
        memory_tools: level!(cell, "interface.memory_tools", MemoryTools),
        recovery_tools: level!(cell, "interface.recovery_tools", RecoveryTools),
        prediction_mode: level!(cell, "interface.prediction_mode", PredictionMode),
        prediction_format: level!(cell, "interface.prediction_format", PredictionFormat),
        reasoning_min_chars: small("interface.reasoning_min_chars"),
        crash_detector: DetectorConfig {
            threshold: level!(cell, "crash_detector.threshold", Strictness),
            window_size: usize::try_from(whole("crash_detector.window_size")).unwrap_or(usize::MAX),
            continue_after_crash: whole("crash_detector.continue_after_crash"),
        },
    }
}
