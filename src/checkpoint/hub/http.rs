//! One request to the hub: redirects, the token, time-outs, and the pauses between retries.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::{Hub, HubError};

/// How many redirects are followed; Python's limit.
const MOST_REDIRECTS: usize = 20;

/// Sends requests with one time-out for every wait: for the connection, for an answer, for more data.
pub struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
    timeout: Duration,
    /// The environment variable that sets the time-out.
    variable: &'static str,
}

/// A server's response, whatever its status.
pub struct Answer {
    pub response: Response<Body>,
    /// Whether it is from the hub itself, not from a host that the hub redirected to.
    pub from_hub: bool,
}

/// Why a request failed.
pub enum Fault {
    /// Another try may succeed, after a pause of this length if the server named one.
    Transient(HubError, Option<Duration>),
    /// There is no connection, or the server is silent. During a download, another try may succeed.
    Unreachable(HubError),
    /// Another try would fail, too.
    Final(HubError),
}

enum Method {
    Head,
    /// The content from this byte on.
    Get(u64),
}

impl<'a> Client<'a> {
    /// A client for metadata.
    pub fn for_metadata(hub: &'a Hub) -> Self {
        Self::new(hub, hub.metadata_timeout, "HF_HUB_ETAG_TIMEOUT")
    }

    /// A client for the content of files.
    pub fn for_download(hub: &'a Hub) -> Self {
        Self::new(hub, hub.download_timeout, "HF_HUB_DOWNLOAD_TIMEOUT")
    }

    fn new(hub: &'a Hub, timeout: Duration, variable: &'static str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("vae/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity") // sizes and digests are those of the uncompressed file
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .build()
            .into();
        Self { hub, agent, timeout, variable }
    }

    /// Asks for the headers of `url`. A redirect to another host is the answer, as the hub puts the metadata into it.
    pub fn head(&self, url: &str) -> Result<Answer, Fault> {
        self.send(&Method::Head, url)
    }

    /// Asks for the content of `url` from the byte `start` on.
    pub fn get(&self, url: &str, start: u64) -> Result<Answer, Fault> {
        self.send(&Method::Get(start), url)
    }

    fn send(&self, method: &Method, url: &str) -> Result<Answer, Fault> {
        let not_a_url = || self.protocol(&self.hub.endpoint, "not an http or https URL".into());
        let hub: Uri = url.parse().ok().filter(is_http).ok_or_else(not_a_url)?;
        let mut url = hub.clone();
        for _ in 0..=MOST_REDIRECTS {
            let from_hub = has_same_origin(&url, &hub);
            let response = self.send_once(method, &url, from_hub)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, from_hub });
            }
            let location = response.headers().get("Location").and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| resolve(&url, location)).ok_or_else(|| {
                self.protocol(&origin(&url), "it redirects to an invalid or insecure address".into())
            })?;
            if matches!(method, Method::Head) && !has_same_origin(&next, &hub) {
                return Ok(Answer { response, from_hub });
            }
            url = next;
        }
        Err(self.protocol(&origin(&url), format!("more than {MOST_REDIRECTS} redirects")))
    }

    /// Sends one request, with the token if it goes to the hub itself.
    fn send_once(&self, method: &Method, url: &Uri, to_hub: bool) -> Result<Response<Body>, Fault> {
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::Get(0) => self.agent.get(url),
            Method::Get(start) => self.agent.get(url).header("Range", format!("bytes={start}-")),
        };
        if let Some(token) = self.hub.token.as_ref().filter(|_| to_hub) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|e| self.fault(e, &origin(url)))
    }

    /// The fault that ends the reading of a body.
    pub fn body_fault(&self, error: io::Error) -> Fault {
        self.fault(ureq::Error::from(error), &self.hub.shown_endpoint())
    }

    fn fault(&self, error: ureq::Error, server: &str) -> Fault {
        let network = |reason: String| HubError::Network {
            endpoint: self.hub.without_credentials(server),
            reason: self.hub.without_credentials(&reason),
        };
        match error {
            ureq::Error::Timeout(_) => {
                let seconds = self.timeout.as_secs();
                let reason = format!("no data within {seconds} s (set {} to wait longer)", self.variable);
                Fault::Unreachable(network(reason))
            }
            ureq::Error::Io(e) => match e.kind() {
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof => Fault::Transient(network(e.to_string()), None),
                _ => Fault::Unreachable(network(e.to_string())),
            },
            e @ (ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => {
                Fault::Unreachable(network(e.to_string()))
            }
            e @ (ureq::Error::Http(_) | ureq::Error::BadUri(_)) => {
                self.protocol(server, format!("{e}, or HF_TOKEN is not a valid token"))
            }
            e @ (ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)) => {
                self.protocol(server, e.to_string())
            }
            e => Fault::Final(network(e.to_string())),
        }
    }

    fn protocol(&self, server: &str, reason: String) -> Fault {
        Fault::Final(HubError::Protocol {
            endpoint: self.hub.without_credentials(server),
            reason: self.hub.without_credentials(&reason),
        })
    }
}

/// Counts the tries, and pauses between them.
pub struct Retries<'a> {
    hub: &'a Hub,
    tries: u32,
}

impl<'a> Retries<'a> {
    /// Starts with the first try.
    pub fn new(hub: &'a Hub) -> Self {
        Self { hub, tries: 1 }
    }

    /// Resets the count, since the last try made progress.
    pub fn reset(&mut self) {
        self.tries = 1;
    }

    /// Pauses before the next try, or returns the error if there should not be one.
    pub fn pause(&mut self, fault: Fault) -> Result<(), HubError> {
        let (error, named) = match fault {
            Fault::Transient(error, named) if self.tries < self.hub.tries => (error, named),
            Fault::Transient(error, _) | Fault::Unreachable(error) | Fault::Final(error) => {
                return Err(error);
            }
        };
        let pause = named.unwrap_or(self.hub.retry_delay * (1 << (self.tries - 1).min(3)));
        self.tries += 1;
        self.hub.note(&format!("{}; trying again in {} s", error.reason(), pause.as_secs_f32()));
        thread::sleep(pause);
        Ok(())
    }
}

/// Checks whether this is an http or https URL with a host and, if any, a valid port.
fn is_http(url: &Uri) -> bool {
    let (Some("http" | "https"), Some(authority)) = (url.scheme_str(), url.authority()) else { return false };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = authority.port_u16().map_or(String::new(), |port| format!(":{port}"));
    !authority.host().is_empty() && host == format!("{}{port}", authority.host())
}

/// `https://host:port`, without credentials.
fn origin(url: &Uri) -> String {
    let port = url.port_u16().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
}

fn has_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |url: &Uri| url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let hosts = a.host().zip(b.host());
    a.scheme() == b.scheme() && port(a) == port(b) && hosts.is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Resolves `location` relative to `base`. Returns `None` if it is invalid or leaves https for http.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let is_absolute = location.split(['/', '?']).next()?.ends_with(':');
    let text = match location {
        _ if is_absolute => location.to_string(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    };
    let url = text.parse().ok().filter(is_http)?;
    (scheme == "http" || url.scheme_str() == Some("https")).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_and_never_leave_https() {
        let base: Uri = "https://u:p@host:8080/a/b?c".parse().expect("a URL");
        let resolve = |location: &str| resolve(&base, location).map(|url| url.to_string());
        assert_eq!(resolve("/x/y?z#part").as_deref(), Some("https://u:p@host:8080/x/y?z"));
        assert_eq!(resolve("x").as_deref(), Some("https://u:p@host:8080/a/x"));
        assert_eq!(resolve("//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(resolve("//u@[::1]:80/x").as_deref(), Some("https://u@[::1]:80/x"));
        assert_eq!(resolve("https://cdn/x?u=http://y").as_deref(), Some("https://cdn/x?u=http://y"));
        for refused in [
            "http://host/x",
            "file:///etc/passwd",
            "ftp://host/x",
            "https://",
            "/a b",
            "https:",
            "//cdn:x/",
            "//:80/",
        ] {
            assert_eq!(resolve(refused), None, "{refused}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| has_same_origin(&a.parse().expect("a URL"), &b.parse().expect("a URL"));
        assert!(same("https://Host/a", "https://u:p@host:443/b"));
        for other in ["http://host/a", "https://host:444/a", "https://host.evil/a", "https://evil/host"] {
            assert!(!same("https://host/a", other), "{other}");
        }
    }
}
