//! `/v1/embeddings`: the mean of the last hidden states over the text's tokens, scaled to unit
//! length.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::admission::admit;
use crate::api_error::ApiError;
use crate::generation::{Generation, run_blocking};
use crate::prompt_input::PromptInput;
use crate::request_fields::refuse_unsupported;
use crate::state::AppState;

const TEXTS_MAX: usize = 2048;

#[derive(Debug, Deserialize)]
struct EmbeddingsRequest {
    model: Option<String>,
    input: PromptInput,
    encoding_format: Option<EmbeddingEncoding>,
    dimensions: Option<u64>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EmbeddingEncoding {
    Float,
    /// Base64 of the little-endian f32 values.
    Base64,
}

pub(crate) async fn handle(
    State(app): State<Arc<AppState>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let (permit, request): (_, EmbeddingsRequest) = admit(&app, request).await?;
    app.check_model(request.model.as_deref())?;
    if request.dimensions.is_some() {
        return Err(ApiError::field(
            "dimensions",
            "the model's embeddings have one size; leave dimensions out",
        ));
    }
    refuse_unsupported(&request.unsupported)?;
    let encoding = request.encoding_format.unwrap_or(EmbeddingEncoding::Float);
    let state = Arc::clone(&app);
    let texts = run_blocking(move || request.input.tokenize(&state)).await?;
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return Err(ApiError::field(
            "input",
            format!("expected 1 to {TEXTS_MAX} texts, found {}", texts.len()),
        ));
    }
    let mut tokens = 0;
    let mut data = Vec::with_capacity(texts.len());
    let permit = Arc::new(permit);
    // Texts are embedded one after another, so that a request occupies only one entry of the
    // engine's queue.
    for (index, text) in texts.into_iter().enumerate() {
        let completion =
            Generation::start_embedding(&app, Arc::clone(&permit), text)?.finish().await?;
        tokens += completion.prompt_tokens;
        let embedding = normalize(completion.embedding.unwrap_or_default());
        data.push(json!({"object": "embedding", "index": index, "embedding": encode(&embedding, encoding)}));
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(Json(json!({"object": "list", "data": data, "model": app.model.name, "usage": usage})))
}

/// Scales a vector to Euclidean length 1; a zero vector stays zero.
fn normalize(mut embedding: Vec<f32>) -> Vec<f32> {
    let length = embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        embedding.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    embedding
}

fn encode(embedding: &[f32], encoding: EmbeddingEncoding) -> Value {
    match encoding {
        EmbeddingEncoding::Float => json!(embedding),
        EmbeddingEncoding::Base64 => {
            let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
            base64(&bytes).into()
        }
    }
}

/// Encodes bytes as base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, expected) in pairs {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }
}
