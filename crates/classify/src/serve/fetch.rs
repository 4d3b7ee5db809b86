//! Fetches pictures from addresses that clients name: only from hosts that the operator allows, never from private
//! addresses, and without following redirects.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::upload::{Budget, MAX_BODY, Upload, UploadError};

/// The longest time for fetching a picture, from looking up its host to its last byte.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The maximum number of pictures that are fetched at a time: fewer than the threads that block, since large JSON bodies
/// need some, too.
const MAX_FETCHES: usize = 12;

/// The longest time that a request waits for others to be fetched.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// Why a picture was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The operator has allowed none.
    #[error("this server fetches no pictures")]
    NotAllowed,
    /// The operator has not allowed this host.
    #[error("{0}: not a host that this server fetches pictures from")]
    Host(String),
    /// The host's address is that of this machine or of a private network.
    #[error("{0}: not a public address")]
    NotPublic(IpAddr),
    /// Not an address of a web page.
    #[error("{0:?}: expected http://… or https://…")]
    Url(String),
    /// The host has answered, but not with a picture; redirects are not followed.
    #[error("the host answers with status {0}")]
    Status(u16),
    /// The picture is over [`MAX_BODY`].
    #[error("the picture at the URL is over {MAX_BODY} bytes")]
    TooLarge,
    /// No memory is left for it.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// It has taken too long.
    #[error("the picture could not be fetched in time")]
    Slow,
    /// No connection, or it broke.
    #[error("the picture could not be fetched: {0}")]
    Failed(String),
}

impl FetchError {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAllowed | Self::Host(_) | Self::NotPublic(_) => StatusCode::FORBIDDEN,
            Self::Url(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Upload(UploadError::Busy) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge | Self::Upload(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Status(_) | Self::Failed(_) => StatusCode::BAD_GATEWAY,
            Self::Slow => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Fetches pictures from the allowed hosts.
#[derive(Debug)]
pub struct Fetcher {
    /// `host` or `host:port`, in lower case.
    hosts: Vec<String>,
    agent: Agent,
    /// One for each picture that may be fetched at a time.
    places: Arc<Semaphore>,
}

impl Fetcher {
    /// Fetches from these hosts, given as `host` or `host:port`.
    pub fn new(hosts: &[String]) -> Self {
        Self::with_addresses(hosts, is_public)
    }

    /// The same with another rule for which addresses may be connected to.
    fn with_addresses(hosts: &[String], allowed: fn(IpAddr) -> bool) -> Self {
        let config = Config::builder()
            .timeout_global(Some(MAX_TIME))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let resolver = CheckedResolver { resolver: DefaultResolver::default(), allowed };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, agent, places: Arc::new(Semaphore::new(MAX_FETCHES)) }
    }

    /// A place among the pictures that are fetched at a time, to be held during [`Self::fetch`].
    ///
    /// # Errors
    /// [`UploadError::Busy`] if none becomes free in time.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, FetchError> {
        let place = timeout(MAX_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        Ok(place.map_err(|_| UploadError::Busy)?.expect("it is never closed"))
    }

    /// Fetches a picture; blocks until it is there.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(&self, url: &str, budget: &Budget) -> Result<Upload, FetchError> {
        if self.hosts.is_empty() {
            return Err(FetchError::NotAllowed);
        }
        let uri: Uri = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(FetchError::Url(url.to_owned()));
        };
        // With a user or password in it, it is none of the hosts.
        let host = authority.as_str().to_ascii_lowercase();
        if !self.hosts.contains(&host) {
            return Err(FetchError::Host(host));
        }
        let mut response = self.agent.get(&uri).call().map_err(fetch_error)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut reader = response.body_mut().as_reader();
        let mut upload = budget.upload();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk).map_err(|error| fetch_error(Error::from(error)))?;
            if count == 0 {
                return Ok(upload);
            }
            upload.push(&chunk[..count]).map_err(|error| match error {
                UploadError::TooLarge => FetchError::TooLarge,
                error => error.into(),
            })?;
        }
    }
}

fn fetch_error(error: Error) -> FetchError {
    match error {
        Error::Timeout(_) => FetchError::Slow,
        Error::Other(other) => match other.downcast::<NotPublic>() {
            Ok(refused) => FetchError::NotPublic(refused.0),
            Err(other) => FetchError::Failed(other.to_string()),
        },
        other => FetchError::Failed(other.to_string()),
    }
}

/// Looks hosts up and refuses those with an address that is not allowed. The connection is made to the very addresses
/// that were checked.
#[derive(Debug)]
struct CheckedResolver {
    resolver: DefaultResolver,
    allowed: fn(IpAddr) -> bool,
}

/// The error of [`CheckedResolver`], which ureq returns wrapped in its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}: not a public address")]
struct NotPublic(IpAddr);

impl Resolver for CheckedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.resolver.resolve(uri, config, timeout)?;
        for address in &addresses[..] {
            if !(self.allowed)(address.ip()) {
                return Err(Error::Other(NotPublic(address.ip()).into()));
            }
        }
        Ok(addresses)
    }
}

/// Whether the address is one of the public internet, by the registries of special addresses (RFC 6890 and its
/// updates).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network; shared between a provider's customers; protocols; benchmarks; reserved.
        [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..] => true,
        [100, second, ..] => second & 0b1100_0000 == 64,
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocols (Teredo among them), documentation, and 6to4, which holds any IPv4 address.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // All other addresses that have been assigned.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A host on this machine that answers one request with this.
    fn host(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&answer);
        });
        address
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn fetch(host: &str, allowed: fn(IpAddr) -> bool) -> Result<Upload, FetchError> {
        let fetcher = Fetcher::with_addresses(&[host.to_ascii_uppercase()], allowed);
        fetcher.fetch(&format!("http://{host}/photo"), &Budget::new())
    }

    #[test]
    fn what_an_allowed_host_has_is_fetched() {
        let photo: Vec<u8> = (0..200_000).map(|k| k as u8).collect();
        let found = fetch(&host(answer("200 OK", "", &photo)), |_| true).unwrap();
        assert_eq!(found.as_ref(), photo);
    }

    #[test]
    fn so_many_are_fetched_at_a_time_and_others_wait_for_some_seconds() {
        let fetcher = Fetcher::new(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut places = Vec::new();
            for _ in 0..MAX_FETCHES {
                places.push(fetcher.place().await.unwrap());
            }
            let error = fetcher.place().await.unwrap_err();
            assert_eq!(error.status(), StatusCode::TOO_MANY_REQUESTS, "{error}");
            places.pop();
            places.push(fetcher.place().await.unwrap());
        });
    }

    #[test]
    fn private_addresses_are_not_connected_to() {
        let error = fetch(&host(answer("200 OK", "", b"secret")), is_public).unwrap_err();
        assert!(matches!(error, FetchError::NotPublic(address) if address.is_loopback()), "{error}");
    }

    #[test]
    fn redirects_are_not_followed() {
        let secret = host(answer("200 OK", "", b"secret"));
        let redirect = answer("302 Found", &format!("location: http://{secret}/\r\n"), b"");
        let error = fetch(&host(redirect), |_| true).unwrap_err();
        assert!(matches!(error, FetchError::Status(302)), "{error}");
    }

    #[test]
    fn what_is_too_large_is_not_read_to_the_end() {
        let large = vec![0; 20_000_001];
        let error = fetch(&host(answer("200 OK", "", &large)), |_| true).unwrap_err();
        assert_eq!(error.to_string(), "the picture at the URL is over 20000000 bytes");
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn only_allowed_hosts_are_asked() {
        let fetcher = Fetcher::new(&["example.org".to_owned(), "example.com:8080".to_owned()]);
        for url in [
            "http://example.net/1.jpg",
            "http://example.org:81/1.jpg",
            "http://example.com/1.jpg",
            "http://example.org@example.net/",
            "http://user@example.org/",
            "http://example.org./",
        ] {
            let error = fetcher.fetch(url, &Budget::new()).unwrap_err();
            assert!(matches!(error, FetchError::Host(_)), "{url}: {error}");
        }
        for url in ["", "example.org", "/etc/passwd", "file:///etc/passwd", "ftp://example.org/", "http://"] {
            let error = fetcher.fetch(url, &Budget::new()).unwrap_err();
            assert!(matches!(error, FetchError::Url(_)), "{url}: {error}");
        }
        let error = Fetcher::new(&[]).fetch("http://example.org/", &Budget::new()).unwrap_err();
        assert!(matches!(error, FetchError::NotAllowed), "{error}");
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for private in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
