//! A hub on this machine. It speaks as much of the Hugging Face hub's protocol as downloads need, and misbehaves on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that every revision points to at first.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a repository answers.
#[derive(Clone, PartialEq)]
pub enum Mood {
    /// Correctly.
    Fine,
    /// Always with this status.
    Status(u16),
    /// This many times with this status and this Retry-After, then correctly.
    Busy(usize, u16, &'static str),
    /// GET requests fail this many times: half of the announced bytes arrive, then the connection is closed.
    CutOff(usize),
    /// The same, but the connection stays open and silent.
    Stalling(usize),
    /// The connection stays open and silent from the beginning.
    Silent,
    /// One byte of this file is wrong, and is not ASCII.
    Damaged(&'static str),
    /// The weights are longer than announced.
    TooLong,
    /// Without an ETag.
    NoEtag,
    /// With ETags of small files that look like git's hashes and are not.
    OtherEtags,
    /// Requests for this file always get status 503.
    BusyAbout(&'static str),
    /// With an ETag that points out of the cache.
    EvilEtag,
    /// GET requests are answered with another ETag and commit, which point out of the cache.
    EvilSecondAnswer,
    /// GET requests always get the whole file (200).
    WithoutRanges,
    /// GET requests with a range are refused (416).
    RangesRefused,
    /// Whole files are cut off in the middle, and ranges are refused (416).
    NeverWhole,
    /// With a redirect to another server, as for large files.
    Redirect(String),
    /// With so many redirects on the same server first.
    RelativeRedirects(usize),
}

pub struct Repository {
    pub mood: Mood,
    pub files: HashMap<String, Vec<u8>>,
    /// The token that every request must carry.
    pub token: Option<String>,
    /// The commit that every revision points to.
    pub commit: String,
}

/// Runs until the test ends.
pub struct HubServer {
    pub endpoint: String,
    state: Arc<State>,
}

/// One request that the server received.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// The first byte of the range.
    pub start: Option<usize>,
    pub authorization: Option<String>,
}

struct State {
    repositories: Mutex<HashMap<String, Repository>>,
    requests: Mutex<Vec<Request>>,
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

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("no panics").clone()
    }

    /// The GET requests for a file so far.
    pub fn gets(&self, file: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.method == "GET" && r.path.ends_with(file)).collect()
    }

    /// Moves every revision of a repository to `commit`, with this content of a file.
    pub fn commit(&self, id: &str, commit: &str, file: &str, content: Vec<u8>) {
        let mut repositories = self.state.repositories.lock().expect("no panics");
        let repository = repositories.get_mut(id).expect("the repository");
        repository.commit = commit.into();
        repository.files.insert(file.into(), content);
    }

    pub fn set_mood(&self, id: &str, mood: Mood) {
        self.state.repositories.lock().expect("no panics").get_mut(id).expect("the repository").mood = mood;
    }
}

/// What goes back over the connection.
struct Response {
    bytes: Vec<u8>,
    /// Whether the connection stays open and silent after that.
    stalls: bool,
}

impl Response {
    fn new(status: u16, headers: &str, body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}\r\n").into_bytes();
        bytes.extend(body);
        Self { bytes, stalls: false }
    }

    fn status(status: u16, headers: &str) -> Self {
        Self::new(status, &format!("Content-Length: 0\r\n{headers}"), b"")
    }
}

impl State {
    /// Answers one request and closes the connection. Ignores clients that go away.
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
        let mut words = lines[0].split(' ');
        let request = Request {
            method: words.next()?.to_string(),
            path: words.next()?.to_string(),
            start: header("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()),
            authorization: header("authorization"),
        };
        self.requests.lock().expect("no panics").push(request.clone());
        let response = self.response(&request);
        stream.write_all(&response.bytes).ok()?;
        if response.stalls {
            thread::sleep(Duration::from_secs(60));
        }
        Some(())
    }

    fn response(&self, request: &Request) -> Response {
        let mut repositories = self.repositories.lock().expect("no panics");
        let (hops, path) = match request.path.strip_prefix("/hop/").and_then(|rest| rest.split_once('/')) {
            Some((hops, path)) => (hops.parse().expect("a number"), path),
            None => (0, request.path.trim_start_matches('/')),
        };
        let Some((id, file)) = path.split_once("/resolve/") else { return Response::status(400, "") };
        let Some(repository) = repositories.get_mut(id) else { return Response::status(404, "") };
        if repository.token.as_ref().is_some_and(|t| request.authorization != Some(format!("Bearer {t}"))) {
            return Response::status(401, "");
        }
        let name = file.split_once('/').map_or("", |(_revision, name)| name);
        let Some(bytes) = repository.files.get(name) else { return Response::status(404, "") };
        let metadata = metadata(name, bytes, repository, request.method == "GET");
        match &mut repository.mood {
            Mood::Status(status) => return Response::status(*status, ""),
            Mood::Busy(times @ 1.., status, retry_after) => {
                *times -= 1;
                return Response::status(*status, &format!("Retry-After: {retry_after}\r\n"));
            }
            Mood::Silent => return Response { bytes: Vec::new(), stalls: true },
            Mood::BusyAbout(file) if *file == name => return Response::status(503, ""),
            Mood::Redirect(server) if name.ends_with(".safetensors") => {
                return Response::status(302, &format!("Location: {server}/{path}\r\n{metadata}"));
            }
            Mood::RelativeRedirects(most) if hops < *most => {
                return Response::status(307, &format!("Location: /hop/{}/{path}\r\n{metadata}", hops + 1));
            }
            _ => {}
        }
        match request.method.as_str() {
            "HEAD" => Response::new(200, &format!("Content-Length: {}\r\n{metadata}", bytes.len()), b""),
            _ => content(name, bytes, request.start, &mut repository.mood, &metadata),
        }
    }
}

/// The headers that describe a file. Large files have other ones than small files.
fn metadata(name: &str, bytes: &[u8], repository: &Repository, is_get: bool) -> String {
    let Repository { mood, commit, .. } = repository;
    let evil =
        "ETag: \"../../../../evil\"\r\nX-Linked-Etag: \"../../../../evil\"\r\nX-Repo-Commit: ../../evil\r\n";
    let etag = match mood {
        Mood::NoEtag => String::new(),
        Mood::EvilEtag => return evil.into(),
        Mood::EvilSecondAnswer if is_get => return evil.into(),
        _ if name.ends_with(".safetensors") => {
            format!("X-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n", digest(bytes), bytes.len())
        }
        Mood::OtherEtags => format!("ETag: \"{}\"\r\n", &digest(bytes)[..40]),
        _ => format!("ETag: W/\"{}\"\r\n", git_hash(bytes)),
    };
    format!("{etag}X-Repo-Commit: {commit}\r\n")
}

fn content(name: &str, whole: &[u8], start: Option<usize>, mood: &mut Mood, metadata: &str) -> Response {
    let start = start.filter(|_| *mood != Mood::WithoutRanges);
    let from = start.unwrap_or(0);
    if from > 0 && (matches!(mood, Mood::RangesRefused | Mood::NeverWhole) || from >= whole.len()) {
        return Response::status(416, &format!("Content-Range: bytes */{}\r\n", whole.len()));
    }
    let mut body = whole[from..].to_vec();
    if *mood == Mood::TooLong && name.ends_with(".safetensors") {
        body.extend([0; 1000]);
    }
    let announced = body.len();
    let mut stalls = false;
    match mood {
        Mood::CutOff(times @ 1..) | Mood::Stalling(times @ 1..) if announced > 1000 => {
            *times -= 1;
            body.truncate(announced / 2);
            stalls = matches!(mood, Mood::Stalling(_));
        }
        Mood::NeverWhole if announced > 1000 => body.truncate(announced / 2),
        Mood::Damaged(file) if *file == name => body[announced / 2] ^= 0x80,
        _ => {}
    }
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", whole.len() - 1, whole.len());
    let (status, range) = if start.is_some() { (206, range.as_str()) } else { (200, "") };
    let headers = format!("Content-Length: {announced}\r\n{range}{metadata}");
    Response { stalls, ..Response::new(status, &headers, &body) }
}

/// The SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-1 that git computes of a file.
pub fn git_hash(bytes: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
