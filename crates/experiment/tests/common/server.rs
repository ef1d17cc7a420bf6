//! An OpenAI-compatible server for tests, on real sockets, that can also fail in various ways.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

impl RecordedRequest {
    /// Whether the request probes the server's capabilities.
    pub fn is_probe(&self) -> bool {
        self.body["messages"].as_array().is_some_and(|m| m.len() == 1 && m[0]["role"] == "user")
    }
}

/// The server's reaction to a request.
pub enum Action {
    /// Sends a response: status, additional header lines, body.
    Respond(u16, &'static str, String),
    /// Sends nothing for this time, then closes the connection.
    Hang(Duration),
    /// Announces a longer body than it sends, then closes the connection.
    Truncate,
    /// Closes the connection without a response.
    Close,
    /// Sends text that is not HTTP.
    SendGarbage,
}

type ActionFn = dyn Fn(&RecordedRequest, usize) -> Action + Send + Sync;

pub struct Server {
    pub address: String,
    pub requests: Arc<Mutex<Vec<RecordedRequest>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that reacts to each request with `act`. Its second argument is the number of
    /// earlier requests of the same kind: probes, or requests of runs.
    pub fn start(
        act: impl Fn(&RecordedRequest, usize) -> Action + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let (requests, stopped) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let act: Arc<ActionFn> = Arc::new(act);
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (log, stop) = (requests.clone(), stopped.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (act, log, counts) = (act.clone(), log.clone(), counts.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*act, &log, &counts));
            }
        });
        Server { address, requests, stopped }
    }

    /// All requests except probes.
    pub fn requests_of_runs(&self) -> Vec<RecordedRequest> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| !request.is_probe())
            .cloned()
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ =
            TcpStream::connect(self.address.trim_start_matches("http://").trim_end_matches("/v1"));
    }
}

fn serve(
    stream: TcpStream,
    act: &ActionFn,
    log: &Mutex<Vec<RecordedRequest>>,
    counts: &[AtomicUsize; 2],
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let before = counts[usize::from(request.is_probe())].fetch_add(1, Ordering::SeqCst);
        log.lock().unwrap().push(request.clone());
        let stream = reader.get_mut();
        let sent = match act(&request, before) {
            Action::Respond(status, headers, body) => {
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes())
            }
            Action::Hang(time) => {
                std::thread::sleep(time);
                return;
            }
            Action::Truncate => {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"choices\": [{\"mess",
                );
                return;
            }
            Action::Close => return,
            Action::SendGarbage => {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n");
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<RecordedRequest> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1)?.to_string();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(RecordedRequest { path, authorization, body: serde_json::from_slice(&body).ok()? })
}

/// A completion whose message has this text.
pub fn text_completion(content: &str) -> Action {
    completion(json!({"role": "assistant", "content": content}), "stop")
}

/// A completion with this message and finish reason.
pub fn completion(message: Value, finish_reason: &str) -> Action {
    let usage = json!({"prompt_tokens": 700, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 512}});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage});
    Action::Respond(200, "content-type: application/json\r\n", body.to_string())
}

/// An error response in the format of the protocol.
pub fn error(status: u16, headers: &'static str, message: &str) -> Action {
    Action::Respond(
        status,
        headers,
        json!({"error": {"message": message, "type": "x"}}).to_string(),
    )
}
