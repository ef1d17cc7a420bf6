//! An OpenAI-compatible server for tests, over real sockets, that misbehaves as it is told.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Asked {
    /// Whether it only finds out what the server offers.
    pub fn is_probe(&self) -> bool {
        self.body["messages"].as_array().is_some_and(|m| m.len() == 1 && m[0]["role"] == "user")
    }
}

/// What the server does about a request.
pub enum Does {
    /// A whole answer: status, further header lines, body.
    Answers(u16, &'static str, String),
    /// Nothing, for so long.
    Hangs(Duration),
    /// Promises more bytes than it sends.
    CutsOff,
    /// Closes without a word.
    Closes,
    /// Words that are no HTTP.
    Babbles,
}

type Act = dyn Fn(&Asked, usize) -> Does + Send + Sync;

pub struct Server {
    pub address: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// `act` gets each request and how many of its kind (runs' or probes) came before.
    pub fn start(act: impl Fn(&Asked, usize) -> Does + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let act: Arc<Act> = Arc::new(act);
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (log, stop) = (asked.clone(), stopped.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (act, log, counts) = (act.clone(), log.clone(), counts.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*act, &log, &counts));
            }
        });
        Server { address, asked, stopped }
    }

    /// Requests of runs, without the ones that find out what is offered.
    pub fn asked_by_runs(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| !asked.is_probe()).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ =
            TcpStream::connect(self.address.trim_start_matches("http://").trim_end_matches("/v1"));
    }
}

fn serve(stream: TcpStream, act: &Act, log: &Mutex<Vec<Asked>>, counts: &[AtomicUsize; 2]) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let before = counts[usize::from(asked.is_probe())].fetch_add(1, Ordering::SeqCst);
        log.lock().unwrap().push(asked.clone());
        let stream = reader.get_mut();
        let sent = match act(&asked, before) {
            Does::Answers(status, headers, body) => {
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes())
            }
            Does::Hangs(time) => {
                std::thread::sleep(time);
                return;
            }
            Does::CutsOff => {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"choices\": [{\"mess",
                );
                return;
            }
            Does::Closes => return,
            Does::Babbles => {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n");
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
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
    Some(Asked { path, authorization, body: serde_json::from_slice(&body).ok()? })
}

/// A good completion.
pub fn says(content: &str) -> Does {
    answers(json!({"role": "assistant", "content": content}), "stop")
}

/// A completion of this message.
pub fn answers(message: Value, finish_reason: &str) -> Does {
    let usage = json!({"prompt_tokens": 700, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 512}});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage});
    Does::Answers(200, "content-type: application/json\r\n", body.to_string())
}

/// An error in the protocol's form.
pub fn fails(status: u16, headers: &'static str, message: &str) -> Does {
    Does::Answers(status, headers, json!({"error": {"message": message, "type": "x"}}).to_string())
}
