//! Quantized checkpoints: gpt-oss's MXFP4 experts and block FP8 are supported; other methods are
//! rejected with an error that names the method.
use super::keys::ConfigKeys;
use crate::config::FP8_BLOCK;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::family::Family;
use serde_json::Value;

/// Returns an error for a quantization method that is not supported.
pub(super) fn refuse(keys: &ConfigKeys, family: Family) -> Result<(), CheckpointError> {
    // MLX writes `quantization`, beside a copy under the name that transformers reads.
    let mut first: Option<&str> = None;
    for key in ["quantization_config", "compression_config", "quantization"] {
        let Some(settings) = keys.get(key) else { continue };
        let method = method(key, settings);
        if let Some(first) = first.replace(key) {
            let expected = format!("no second quantization beside {first}");
            return Err(quantized(keys, key, expected, label(&method, settings)));
        }
        if method == "mxfp4" && family == Family::GptOss && key == "quantization_config" {
            check_mxfp4(keys, key, settings)?;
            continue;
        }
        if method == "fp8" && settings.get("weight_block_size").is_some() {
            check_block_fp8(keys, key, settings)?;
            continue;
        }
        let expected = "weights in bf16, f16 or f32, block FP8, or gpt-oss's MXFP4 experts";
        return Err(quantized(keys, key, expected, label(&method, settings)));
    }
    Ok(())
}

fn quantized(
    keys: &ConfigKeys,
    key: &str,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> CheckpointError {
    Defect::new(DefectKind::Quantized, keys.file, expected, found).key(key).into()
}

/// Whether the experts are stored in MXFP4.
pub(super) fn is_mxfp4(keys: &ConfigKeys) -> bool {
    keys.get("quantization_config")
        .is_some_and(|settings| method("quantization_config", settings) == "mxfp4")
}

/// Whether matrices are stored in block FP8.
pub(super) fn is_block_fp8(keys: &ConfigKeys) -> bool {
    keys.get("quantization_config").is_some_and(|settings| {
        method("quantization_config", settings) == "fp8"
            && settings.get("weight_block_size").is_some()
    })
}

/// Checks that an MXFP4 configuration has no setting that changes what the weights mean.
fn check_mxfp4(keys: &ConfigKeys, key: &str, settings: &Value) -> Result<(), CheckpointError> {
    const KNOWN: [&str; 3] = ["quant_method", "modules_to_not_convert", "dequantize"];
    let mut others = settings.as_object().into_iter().flatten();
    match others.find(|(name, _)| !KNOWN.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, value)) => {
            let (expected, found) = ("no setting but those of MXFP4", format!("{name}: {value}"));
            Err(quantized(keys, &format!("{key}.{name}"), expected, found))
        }
    }
}

/// Checks that a block FP8 configuration has no setting that changes what the weights mean.
fn check_block_fp8(keys: &ConfigKeys, key: &str, settings: &Value) -> Result<(), CheckpointError> {
    let block = format!("[{FP8_BLOCK},{FP8_BLOCK}]");
    for (name, value) in settings.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let expected = match name.as_str() {
            "weight_block_size" if text != block => block.as_str(),
            "fmt" if text != "e4m3" => "e4m3",
            // A static scheme stores factors for activations, which stay unquantized here.
            "activation_scheme" if text != "dynamic" => "dynamic",
            "scale_fmt" if !matches!(text.as_str(), "ue8m0" | "float" | "float32" | "null") => {
                "ue8m0 or float"
            }
            "weight_block_size"
            | "fmt"
            | "activation_scheme"
            | "scale_fmt"
            | "quant_method"
            | "modules_to_not_convert"
            | "ignored_layers"
            | "dequantize" => continue,
            _ => "no setting but those of block FP8",
        };
        let found = format!("{name}: {text}");
        return Err(quantized(keys, &format!("{key}.{name}"), expected, found));
    }
    Ok(())
}

fn method(key: &str, settings: &Value) -> String {
    let set = |flag: &str| settings.get(flag).and_then(Value::as_bool) == Some(true);
    match settings.get("quant_method").and_then(Value::as_str) {
        Some(name) => name.to_lowercase(),
        None if set("load_in_4bit") || set("load_in_8bit") => "bitsandbytes".to_owned(),
        None if key == "compression_config" => "compressed-tensors".to_owned(),
        None => "unnamed".to_owned(),
    }
}

fn label(method: &str, settings: &Value) -> String {
    match method {
        "fp8" => "FP8 (quant_method fp8)".to_owned(),
        "bitsandbytes" if settings.get("load_in_4bit").and_then(Value::as_bool) == Some(true) => {
            "bitsandbytes 4-bit".to_owned()
        }
        "bitsandbytes" => "bitsandbytes int8".to_owned(),
        "gptq" => "GPTQ".to_owned(),
        "awq" => "AWQ".to_owned(),
        "compressed-tensors" => "compressed-tensors".to_owned(),
        "mxfp4" => "MXFP4 in an architecture other than gpt-oss".to_owned(),
        other => format!("quantization method {other}"),
    }
}
