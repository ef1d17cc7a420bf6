//! Sliding-window attention: the window, and the layers that use it.
use super::keys::Result;
use super::reader::HfConfigReader;
use crate::family::Family;

/// The window in positions, and for each layer whether it uses the window.
pub(super) fn read(
    reader: &mut HfConfigReader,
    layers: usize,
) -> Result<(Option<usize>, Vec<bool>)> {
    use Family::*;
    let keys = reader.keys;
    let switched = matches!(reader.family, Qwen2 | Qwen2Moe | Qwen3 | Qwen3Moe);
    let uses = match reader.family {
        Mistral | Mixtral | Phi3 | GptOss => true,
        _ => switched && keys.flag("use_sliding_window", false)?,
    };
    // If the key is absent, the default of the class applies. Null means no window.
    let default = if keys.has("sliding_window") { None } else { reader.defaults.sliding_window };
    let Some(window) = keys.count_or_zero("sliding_window")?.or(default).filter(|w| uses && *w > 0)
    else {
        return Ok((None, vec![false; layers]));
    };
    let slides = match reader.family {
        Qwen2 | Qwen3 | GptOss if keys.get("layer_types").is_some() => listed(reader, layers)?,
        Qwen2 | Qwen3 => {
            let from = keys.count_or_zero("max_window_layers")?.unwrap_or(28);
            (0..layers).map(|i| i >= from).collect()
        }
        GptOss => (0..layers).map(|i| i.is_multiple_of(2)).collect(),
        _ => vec![true; layers],
    };
    if !slides.contains(&true) {
        return Ok((None, slides));
    }
    Ok((Some(window), slides))
}

fn listed(reader: &HfConfigReader, layers: usize) -> Result<Vec<bool>> {
    let keys = reader.keys;
    let list = keys.list("layer_types")?.map(Vec::as_slice).unwrap_or_default();
    if list.len() != layers {
        return Err(keys
            .defect("layer_types", format!("{layers} entries, one a layer"), list.len())
            .into());
    }
    let slides = |kind: &serde_json::Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(keys.defect("layer_types", "sliding_attention or full_attention", kind).into()),
    };
    list.iter().map(slides).collect()
}
