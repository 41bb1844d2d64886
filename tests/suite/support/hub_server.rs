//! A hub on this machine: enough of the Hugging Face hub's protocol for downloads, and for what can go wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

/// The commit that every revision points to.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a repository answers.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    /// As it should.
    Fine,
    /// With this status.
    Status(u16),
    /// It sends half of what it announced and closes the connection, this many times.
    CutOff(usize),
    /// It sends other bytes than it announced.
    Damaged,
    /// It sends no ETag.
    NoEtag,
    /// Its ETag points out of the cache.
    EvilEtag,
}

pub struct Repository {
    pub mood: Mood,
    pub files: HashMap<String, Vec<u8>>,
    /// A request must carry this token.
    pub token: Option<String>,
}

/// Runs until the test ends.
pub struct HubServer {
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    repositories: Mutex<HashMap<String, Repository>>,
    requests: Mutex<Vec<String>>,
}

impl HubServer {
    pub fn start(repositories: impl IntoIterator<Item = (&'static str, Repository)>) -> Self {
        let repositories = repositories.into_iter().map(|(id, r)| (id.to_string(), r)).collect();
        let state = Arc::new(State { repositories: Mutex::new(repositories), requests: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || state.answer(stream));
            }
        });
        Self { endpoint, state }
    }

    /// The requests so far: path and range.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().expect("no panics").clone()
    }
}

impl State {
    /// Answers one request; the connection is closed after it. A client that went away is no matter.
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_string()),
            }
        }
        let header = |name: &str| {
            let of = |line: &String| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
            };
            lines[1..].iter().find_map(of)
        };
        let path = lines[0].split(' ').nth(1)?.to_string();
        let range = header("range").unwrap_or_default();
        self.requests.lock().expect("no panics").push(format!("{path} {range}"));
        let response = self.response(&path, &range, header("authorization"));
        stream.write_all(&response).ok()
    }

    fn response(&self, path: &str, range: &str, authorization: Option<String>) -> Vec<u8> {
        let status =
            |code: u16| format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into();
        let mut repositories = self.repositories.lock().expect("no panics");
        let Some((id, file)) = path.trim_start_matches('/').split_once("/resolve/") else {
            return status(400);
        };
        let Some(repository) = repositories.get_mut(id) else { return status(404) };
        if repository.token.as_ref().is_some_and(|t| authorization != Some(format!("Bearer {t}"))) {
            return status(401);
        }
        if let Mood::Status(code) = repository.mood {
            return status(code);
        }
        let name = file.split_once('/').map_or("", |(_revision, name)| name);
        let Some(bytes) = repository.files.get(name) else { return status(404) };

        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
        let start: usize = start.parse().unwrap_or(0).min(bytes.len());
        let end: usize = end.parse().map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
        let etag = match repository.mood {
            Mood::NoEtag => String::new(),
            Mood::EvilEtag => "ETag: \"../../../../evil\"\r\n".into(),
            _ => format!("X-Linked-Etag: \"{}\"\r\n", digest(bytes)),
        };
        let mut body = bytes[start..end].to_vec();
        let announced = body.len();
        let is_whole = end == bytes.len() && announced > 1000;
        match &mut repository.mood {
            Mood::CutOff(times @ 1..) if is_whole => {
                *times -= 1;
                body.truncate(announced / 2);
            }
            Mood::Damaged if is_whole => body[announced / 2] ^= 1,
            _ => {}
        }
        let mut response = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {announced}\r\nConnection: close\r\n\
             Content-Range: bytes {start}-{}/{}\r\nX-Repo-Commit: {COMMIT}\r\n{etag}\r\n",
            end.saturating_sub(1),
            bytes.len()
        )
        .into_bytes();
        response.extend(body);
        response
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
