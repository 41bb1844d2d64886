//! The hub: a server on this machine answers with whatever the input contains.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use vae::checkpoint::{Checkpoint, Hub, Source, Variant, Weights};

/// The line between two answers.
const SEPARATOR: &[u8] = b"%%%%\n";

/// What the addresses of the hub and of another server are called in the input.
const NAMES: [&str; 2] = ["HUB", "OTHER"];

/// The token, which only the hub may see.
const TOKEN: &str = "hf_fuzz";

/// Downloads a model twice into the same cache from a hub that gives the answers of `data`, one for each connection, and
/// then closes connections at once.
///
/// Nothing may be written outside the cache, no link may point out of it, every published file must have the digest of its
/// name, and the token may only go to the hub.
pub fn run(data: &[u8]) {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let server = SERVER.get_or_init(Server::start);
    let Some(answers) = answers(data, &server.addresses) else { return };
    *STATE.lock().expect("no panics") = State { answers, leaked: false };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let above = folder.path().join("above");
    let cache = above.join("cache");
    let hub = Hub {
        endpoint: format!("http://{}", server.addresses[0]),
        token: Some(TOKEN.into()),
        cache: cache.clone(),
        offline: false,
        metadata_timeout: Duration::from_secs(5),
        download_timeout: Duration::from_secs(5),
        retry_delay: Duration::ZERO,
        progress: None,
        ..Hub::from_env()
    };
    for _ in 0..2 {
        let _ = Checkpoint::open(&Source::Hub("owner/name".into()), None, Variant::Full, &hub);
        assert!(!STATE.lock().expect("no panics").leaked, "the token went to another server");
        check_only(folder.path(), &["above"]);
        check_only(&above, &["cache"]);
        check_only(&cache, &[".locks", "models--owner--name"]);
        check_content(&cache);
    }
}

/// Checks that a folder has no other entries than `names`.
fn check_only(folder: &Path, names: &[&str]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        assert!(names.iter().any(|known| *known == name), "{} was written", entry.path().display());
    }
}

/// Checks the published files and links below `folder`, which is in the cache.
fn check_content(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            check_content(&path);
        } else if kind.is_symlink() {
            let target = path.canonicalize().expect("a published file");
            assert!(
                target.parent().is_some_and(|blobs| blobs.ends_with("models--owner--name/blobs")),
                "{target:?}"
            );
        } else if folder.ends_with("blobs") {
            check_digest(&path);
        }
    }
}

/// A name of 64 hexadecimal digits is a SHA-256. One of 40 digits is git's SHA-1, or an ETag of a mirror's own; then the content
/// must be well-formed.
fn check_digest(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_lowercase();
    if !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return; // a part of a file, or another ETag
    }
    let bytes = fs::read(path).expect("a file");
    let git_sha1 = || {
        let header = format!("blob {}\0", bytes.len());
        hex(&Sha1::new().chain_update(header).chain_update(&bytes).finalize())
    };
    let is_well_formed =
        || serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() || Weights::open(path).is_ok();
    match name.len() {
        64 => assert_eq!(hex(&Sha256::digest(&bytes)), name, "a published file has another digest"),
        40 => assert!(git_sha1() == name || is_well_formed(), "{name} is damaged"),
        _ => {}
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Splits the input into answers, with the addresses of the servers instead of their names. `None` if an answer sends the
/// program to another machine, or asks it to wait.
fn answers(data: &[u8], addresses: &[String; 2]) -> Option<VecDeque<Vec<u8>>> {
    let mut answers = VecDeque::from([Vec::new()]);
    let mut rest = data;
    while let Some((&byte, after)) = rest.split_first() {
        let answer = answers.back_mut()?;
        if let Some(after) = rest.strip_prefix(SEPARATOR) {
            answers.push_back(Vec::new());
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"//") {
            let i = NAMES.iter().position(|name| after.starts_with(name.as_bytes()))?;
            rest = &after[NAMES[i].len()..];
            rest.first().filter(|byte| b"/?#\r\n".contains(byte))?; // `HUB@other` would be another host
            answer.extend(format!("//{}", addresses[i]).bytes());
        } else {
            if starts_with_pause(rest) {
                return None;
            }
            answer.push(byte);
            rest = after;
        }
    }
    Some(answers)
}

/// Whether this is a header `Retry-After` with a short time, which the program would wait.
fn starts_with_pause(text: &[u8]) -> bool {
    const NAME: &[u8] = b"retry-after:";
    if !text.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return false;
    }
    let value = text[NAME.len()..].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let digits: Vec<u8> =
        value.iter().copied().filter(|byte| byte.is_ascii_digit() && *byte != b'0').collect();
    !digits.is_empty() && value.trim_ascii().len() < 4
}

/// What the servers answer, and whether the other one has seen the token.
struct State {
    answers: VecDeque<Vec<u8>>,
    leaked: bool,
}

static STATE: Mutex<State> = Mutex::new(State { answers: VecDeque::new(), leaked: false });

/// Two servers: the hub and another one. They run until the process ends.
struct Server {
    addresses: [String; 2],
}

impl Server {
    fn start() -> Self {
        let addresses = [0, 1].map(|i| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let _ = answer(stream, i == 1);
                }
            });
            address
        });
        Self { addresses }
    }
}

/// Reads one request, and gives the next answer.
fn answer(mut stream: TcpStream, is_other: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend(&buffer[..count]),
        }
    }
    let next = {
        let mut state = STATE.lock().expect("no panics");
        state.leaked |= is_other && request.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        state.answers.pop_front()
    };
    stream.write_all(&next.unwrap_or_default())?;
    stream.shutdown(Shutdown::Both)
}
