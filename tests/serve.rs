//! `classify serve` as its clients see it: the real server, with real requests over the loopback interface.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use end_to_end::{Ran, Running, command, kitchen_folder, kitchen_photos, lean_command, run, start, temporary};
use serde_json::{Value, json};
use ureq::Agent;

use crate::classify::Trained;

/// The time limit for an answer, longer than any takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A running server on a port of its own; it is ended when dropped.
pub struct Serving {
    running: Running,
    /// `127.0.0.1:PORT`.
    pub address: String,
    log: PathBuf,
    agent: Agent,
}

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The status and the error text.
    fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

impl Serving {
    /// Starts `classify serve RUN` with more options, and waits until it listens.
    pub fn start(run: &Path, more: &[&str]) -> Self {
        Self::start_command(command("classify"), run, more)
    }

    /// [`Serving::start`] with another command.
    pub fn start_command(mut command: Command, run: &Path, more: &[&str]) -> Self {
        let log = run.with_extension("log");
        command.arg("serve").arg(run).args(["--port", "0"]).args(more);
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut running = start(&mut command);
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_suffix('/').and_then(|line| line.split_once(" on http://"));
        let Some((_, address)) = address else { panic!("{line:?}, {}", fs::read_to_string(&log).unwrap()) };
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Self { running, address: address.to_owned(), log, agent: config.build().into() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> Response {
        response(self.agent.get(self.url(path)).call().unwrap())
    }

    /// `POST /predict`.
    pub fn post(&self, content_type: &str, body: &[u8]) -> Response {
        response(self.agent.post(self.url("/predict")).header("content-type", content_type).send(body).unwrap())
    }

    /// `POST /predict` with a form.
    fn post_form(&self, files: &[(&str, &[u8])]) -> Response {
        let (content_type, body) = form(files);
        self.post(&content_type, &body)
    }

    /// Sends these bytes on a new connection. Returns what comes back until the server closes it.
    fn send(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_all(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.running.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops the server with SIGTERM. Returns how it ended and its log.
    pub fn stop(self) -> (Ran, String) {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits until the server has ended. Returns how it ended and its log.
    fn wait(self) -> (Ran, String) {
        let ended = self.running.finish();
        (ended, fs::read_to_string(&self.log).unwrap())
    }
}

fn response(mut response: ureq::http::Response<ureq::Body>) -> Response {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Response {
        status: response.status().as_u16(),
        headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: response.body_mut().read_to_string().unwrap(),
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The content type and body of a form with these files. Each has the name of its field.
fn form(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file) in files {
        let head = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\n\r\n");
        body.extend([head.as_bytes(), file, b"\r\n"].concat());
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// The header of a BMP with this many pixels, which the file does not have.
fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    file.extend([3 * width * height + 54, 0, 54, 40, width, height].map(u32::to_le_bytes).concat());
    file.extend([1u16, 24].map(u16::to_le_bytes).concat());
    file.resize(54, 0);
    file
}

/// The server's answer that corresponds to a line of `classify --json --top 100`.
fn answer_of(line: &Value) -> Value {
    let mut predictions = serde_json::Map::new();
    for ranked in line["top"].as_array().unwrap() {
        predictions.insert(ranked["class"].as_str().unwrap().to_owned(), ranked["probability"].clone());
    }
    json!({
        "predictions": predictions,
        "top_class": line["class"],
        "top_probability": line["probability"],
        "unfamiliar": line["unfamiliar"],
        "unfamiliarity": line["unfamiliarity"],
    })
}

/// Of a thousand requests, sixteen at a time, in each of the formats, every answer is exactly that of `classify`.
#[test]
fn answers_are_those_of_classify() {
    let trained = Trained::new();
    let arguments = [trained.path(""), kitchen_folder().to_str().unwrap().to_owned()];
    let arguments = [&arguments[0], &arguments[1], "--json", "--top", "100"];
    let lines = trained.classify(&arguments).succeeded().stdout;
    let mut photos = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let file = fs::read(line["path"].as_str().unwrap()).unwrap();
        photos.push((file, answer_of(&line)));
    }
    assert_eq!(photos.len(), 18 + 18);

    let serving = Serving::start(&trained.run, &["--log", "off"]);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 1000 {
                        break;
                    }
                    // Three of four photos are the small generated ones.
                    let (file, expected) =
                        &photos[if number.is_multiple_of(4) { 18 + number / 4 % 18 } else { number % 18 }];
                    let response = match number % 3 {
                        0 => serving.post("image/jpeg", file),
                        1 => serving.post_form(&[("image", file)]),
                        _ => {
                            let image = json!({"image": STANDARD.encode(file)});
                            serving.post("application/json", image.to_string().as_bytes())
                        }
                    };
                    assert_eq!((response.status, &response.json()), (200, expected));
                }
            });
        }
    });
    let (ended, log) = serving.stop();
    assert_eq!((ended.code, log.as_str()), (Some(0), ""));
}

#[test]
fn several_pictures_are_answered_in_their_places() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let photo = |name: &str| fs::read(trained.path(name)).unwrap();
    let (hat, shoe) = (photo("hat/000.png"), photo("shoe/001.png"));
    let alone = |file: &[u8]| serving.post("image/png", file).json();
    let error = |error: &str| json!({"error": error});
    let not_a_picture = error("is not a picture (JPEG, PNG, BMP, GIF, WebP or TIFF)");

    let cut = &hat[..hat.len() / 2];
    let truncated = serving.post("image/png", cut).json();
    let files = [&hat[..], b"text", &shoe, cut, b""].map(|file| ("image", file));
    let answered = serving.post_form(&files);
    assert_eq!(answered.status, 200);
    let expected = [alone(&hat), not_a_picture.clone(), alone(&shoe), truncated, not_a_picture.clone()];
    assert_eq!(answered.json(), json!({"results": expected}));
    // A list of one is a list.
    assert_eq!(serving.post_form(&[("images", &hat)]).json(), json!({"results": [alone(&hat)]}));
    assert_eq!(serving.post_form(&[("images", b"text")]).json(), json!({"results": [not_a_picture]}));
    assert_eq!(serving.post_form(&[("image", &hat)]).json(), alone(&hat));
    // Other fields are passed over, however long.
    let head = &b"--edge\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\n"[..];
    let note = [head, &vec![b'a'; 1_500_000], b"\r\n"].concat();
    let (content_type, body) = form(&[("image", &hat)]);
    assert_eq!(serving.post(&content_type, &[note, body].concat()).json(), alone(&hat));
    let many = vec![("image", &hat[..]); 65];
    assert_eq!(serving.post_form(&many).error(), (413, "more than 64 pictures".to_owned()));

    // Too many pictures are noticed in the middle of a body; the client can send the rest and gets the answer.
    let large = vec![0; 15_000_000];
    let (content_type, body) = form(&[&many[..], &[("image", &large[..])]].concat());
    let head = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answered = serving.send(&[head.as_bytes(), &body].concat());
    assert!(answered.contains("HTTP/1.1 413 Payload Too Large\r\n"), "{answered}");
}

/// Each kind of bad request gets its status and an error text.
#[test]
fn bad_requests_get_a_status_and_an_error() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let photo = fs::read(trained.path("hat/000.png")).unwrap();
    let jpeg = fs::read(&kitchen_photos()[0]).unwrap();
    let large = vec![0; 20_000_001];
    let letters = vec![b'a'; 1_500_000];
    let long_header = [&b"--x\r\na: "[..], &letters].concat();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("image/png", b"".to_vec(), 422, "no picture in the request"),
        ("image/png", b"text".to_vec(), 415, "is not a picture"),
        ("image/png", photo[..60].to_vec(), 422, "is a damaged PNG"),
        ("image/jpeg", jpeg[..jpeg.len() / 2].to_vec(), 422, "is a truncated JPEG"),
        ("image/bmp", bmp_header(10_000, 10_000), 413, "10000 x 10000 pixels, over the limit of 24000000"),
        ("image/png", large, 413, "over 20000000 bytes"),
        ("text/plain", photo.clone(), 415, "content type \"text/plain\": expected image/…"),
        ("application/json", b"{".to_vec(), 422, "expected {\"image\": base64}"),
        ("application/json", b"{\"picture\": \"\"}".to_vec(), 422, "expected {\"image\": base64}"),
        ("application/json", b"{}".to_vec(), 422, "base64} or {\"url\": address}, one of them"),
        ("application/json", b"{\"image\": \"\"}".to_vec(), 422, "no picture in the request"),
        ("application/json", b"{\"image\": \"a$\"}".to_vec(), 422, "image is not base64"),
        ("application/json", b"{\"url\": \"http://example.org/\"}".to_vec(), 403, "this server fetches no pictures"),
        ("multipart/form-data", photo.clone(), 400, "not a form: multipart boundary not found"),
        ("multipart/form-data; boundary=x", photo.clone(), 400, "not a form: incomplete multipart stream"),
        ("multipart/form-data; boundary=x", b"--x--\r\n".to_vec(), 422, "no picture in the request"),
        ("multipart/form-data; boundary=x", letters, 400, "not a form: no part begins within 1000000 bytes"),
        ("multipart/form-data; boundary=x", long_header, 400, "not a form: no part begins within 1000000 bytes"),
    ];
    for (content_type, body, status, message) in &cases {
        let (found, error) = serving.post(content_type, body).error();
        assert_eq!(found, *status, "{content_type}: {error}");
        assert!(error.contains(message), "{content_type}: {error}");
    }
    assert_eq!(serving.get("/predict").error(), (405, "no such method here".to_owned()));
    assert_eq!(serving.get("/nothing").error(), (404, "no such path".to_owned()));

    // A picture of one pixel is valid, and the content type may be missing.
    let mut pixel = bmp_header(1, 1);
    pixel.extend([255, 0, 0, 0]);
    assert_eq!(serving.post("application/octet-stream", &pixel).status, 200);
    let head =
        format!("POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", pixel.len());
    let answered = serving.send(&[head.as_bytes(), &pixel].concat());
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    // A content length over the limit is an error before the body is sent.
    let head = "POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 20000001\r\n\r\n";
    let answered = serving.send(head.as_bytes());
    assert!(answered.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answered}");
    assert!(serving.send(b"no request\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));

    // The log has a line for each request, without its content, and none for what is not HTTP.
    let (ended, log) = serving.stop();
    assert_eq!(ended.code, Some(0));
    assert_eq!(log.lines().count(), cases.len() + 5, "{log}");
    for line in log.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        assert!(parts[0].ends_with('Z') && parts.last() == Some(&"ms"), "{line}");
    }
}

/// Clients that stop in the middle of the headers or the body get an error; idle connections stay open.
#[test]
fn slow_clients_get_an_error() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &["--log", "json"]);
    let head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n";
    let mut idle = serving.connect();
    thread::scope(|scope| {
        let [headers, body] = [&head[..40], &format!("{head}half of it")].map(|sent| {
            let serving = &serving;
            let sent = sent.to_owned();
            scope.spawn(move || serving.send(sent.as_bytes()))
        });
        let headers = headers.join().unwrap();
        assert!(headers.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{headers}");
        let (_, said) = headers.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains(&format!("content-length: {}\r\n", said.len())), "{headers}");
        assert_eq!(said, "{\"error\":\"the headers did not arrive in time\"}\n");
        let body = body.join().unwrap();
        assert!(body.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{body}");
        assert!(body.ends_with("{\"error\":\"the body did not arrive in time\"}"), "{body}");
    });
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    assert!(read_all(&mut idle).starts_with("HTTP/1.1 200 OK\r\n"));
    // A client that closes its writing end gets an error at once.
    let mut stream = serving.connect();
    stream.write_all(format!("{head}half of it").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answered = read_all(&mut stream);
    assert!(answered.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answered}");
    assert!(answered.ends_with("{\"error\":\"the body ended early\"}"), "{answered}");

    let (_, log) = serving.stop();
    let mut logged: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    logged.sort_by_key(|line| (line["status"].as_u64(), line["path"].as_str().map(str::to_owned)));
    let logged: Vec<_> = logged.iter().map(|line| (&line["method"], &line["path"], &line["status"])).collect();
    let [get, post, health, predict, none] = ["GET", "POST", "/health", "/predict", "-"].map(|text| json!(text));
    let [ok, incomplete, slow] = [200, 400, 408].map(|status| json!(status));
    let expected =
        [(&get, &health, &ok), (&post, &predict, &incomplete), (&none, &none, &slow), (&post, &predict, &slow)];
    assert_eq!(logged, expected);
}

/// The body of a request to an unknown path would otherwise be read as the next request's headers.
#[test]
fn a_refused_requests_body_is_read_before_the_answer() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let mut stream = serving.connect();
    stream.write_all(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "answered before the body");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(b"pictureGET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let answers = read_all(&mut stream);
    let [not_found, ok] = ["HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"].map(|status| answers.find(status).unwrap());
    assert!(not_found < ok, "{answers}");
}

/// The bodies of all requests may take 32 MB together. With more, the server is busy and answers when to retry.
#[test]
fn bodies_share_a_memory_budget() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let photo = fs::read(trained.path("hat/000.png")).unwrap();
    let length = 19_000_000;
    let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    // All but the last byte of the first body, and of the second one as much as the budget allows.
    let fill = || {
        [19_000_000 - 1, 13_000_000].map(|sent| {
            let mut stream = serving.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![0; sent]).unwrap();
            stream
        })
    };
    // On a busy machine the server may need longer to read them than it lets clients pause: then they are sent again.
    let mut filled = None;
    for _ in 0..10 {
        let streams = fill();
        if let Some(busy) = busy_response(&serving, &photo) {
            filled = Some((streams, busy));
            break;
        }
    }
    let (mut large, busy) = filled.expect("the budget is used up");
    assert_eq!(busy.error(), (429, "the server is busy; try again".to_owned()));
    assert_eq!(busy.headers["retry-after"], "1");
    large[0].write_all(&[0]).unwrap();
    let answered = read_all(&mut large[0]);
    assert!(answered.starts_with("HTTP/1.1 415 "), "{answered}");
    assert_eq!(serving.post("image/png", &photo).status, 200);
}

/// The response of the server when it is busy; `None` if it answers all photos for some seconds.
fn busy_response(serving: &Serving, photo: &[u8]) -> Option<Response> {
    for _ in 0..50 {
        let response = serving.post("image/png", photo);
        if response.status == 429 {
            return Some(response);
        }
        assert_eq!(response.status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    None
}

/// Clients send photos on connections that they keep open, and the server is stopped meanwhile. Every request that it
/// accepted is answered; then it accepts no more connections.
#[test]
fn accepted_requests_are_answered_when_the_server_is_stopped() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &["--log", "off"]);
    let photo = fs::read(trained.path("hat/000.png")).unwrap();
    let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", photo.len());
    let request = [head.as_bytes(), &photo].concat();
    let (address, answered) = (serving.address.clone(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..16).map(|_| scope.spawn(|| send_until_refused(&address, &request, &answered))).collect();
        // If a client fails, the server is stopped too: the other clients send until then.
        while answered.load(Ordering::Relaxed) < 100 && !clients.iter().any(|client| client.is_finished()) {
            thread::sleep(Duration::from_millis(5));
        }
        serving.signal("-TERM");
    });
    assert!(answered.load(Ordering::Relaxed) >= 100, "a client has ended early");
    let (ended, log) = serving.wait();
    assert_eq!((ended.code, log.as_str()), (Some(0), ""));
}

/// Sends the request again and again until the server accepts no connection. Counts the answers.
fn send_until_refused(address: &str, request: &[u8], answered: &AtomicUsize) {
    'connections: loop {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            match reader.get_mut().write_all(request) {
                Ok(()) => {}
                // It never reached the server.
                Err(error) if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) => return,
                Err(error) => panic!("{error}"),
            }
            let (mut status, mut length, mut closes) = (String::new(), 0, false);
            reader.read_line(&mut status).unwrap();
            assert_eq!(status, "HTTP/1.1 200 OK\r\n");
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                match header.trim_end().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("connection", value)) => closes = value == "close",
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            assert!(serde_json::from_slice::<Value>(&body).unwrap()["top_class"].is_string());
            answered.fetch_add(1, Ordering::Relaxed);
            if closes {
                continue 'connections;
            }
        }
    }
}

#[test]
fn the_server_has_health_info_metrics_and_openapi() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &["--threads", "1"]);
    let photo = fs::read(trained.path("hat/000.png")).unwrap();
    assert_eq!(serving.get("/health").json(), json!({"status": "alive"}));
    assert_eq!(serving.get("/ready").json(), json!({"status": "ready"}));
    let info = serving.get("/info").json();
    assert_eq!((&info["classes"], &info["side"]), (&json!(["hat", "shirt", "shoe"]), &json!(71)));
    assert_eq!((&info["precision"], &info["max_pixels"]), (&json!("f32"), &json!(24_000_000)));
    assert_eq!((&info["tells_unfamiliar"], info["weights"].as_str().map(str::len)), (&json!(true), Some(64)));

    for _ in 0..3 {
        serving.post("image/png", &photo);
    }
    serving.post("image/png", b"text");
    serving.get("/no/such/path");
    let metrics = serving.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"), "{metrics:?}");
    for line in [
        "classify_requests_total{path=\"/predict\",status=\"200\"} 3",
        "classify_requests_total{path=\"/predict\",status=\"415\"} 1",
        "classify_requests_total{path=\"other\",status=\"404\"} 1",
        "classify_request_seconds_count{path=\"/predict\"} 4",
        "classify_requests_in_flight 1",
        "classify_queue_pictures 0",
        "# TYPE classify_batch_pictures histogram",
        "# EOF",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} in {}", metrics.body);
    }

    let interface = serving.get("/openapi.json").json();
    assert_eq!(interface["openapi"], "3.1.0");
    let paths: Vec<&String> = interface["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/health", "/info", "/metrics", "/predict", "/ready"]);
    let answer = &interface["components"]["schemas"]["PictureAnswer"]["properties"];
    let found = serving.post("image/png", &photo).json();
    assert_eq!(
        answer.as_object().unwrap().keys().collect::<Vec<_>>(),
        found.as_object().unwrap().keys().collect::<Vec<_>>()
    );

    let page = serving.get("/");
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"), "{page:?}");
    for part in ["/page.css", "/page.js"] {
        assert!(page.body.contains(&part[1..]));
        assert_eq!(serving.get(part).status, 200);
    }
}

/// With a lower limit than the pixels of the server's own picture, it starts, and its own picture is answered.
#[test]
fn a_low_limit_on_pixels_lets_the_server_start() {
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &["--max-pixels", "100"]);
    assert_eq!(serving.get("/ready").json(), json!({"status": "ready"}));
    assert_eq!(serving.get("/info").json()["max_pixels"], json!(22_500));
    let (status, error) = serving.post("image/bmp", &bmp_header(151, 150)).error();
    assert_eq!((status, error.as_str()), (413, "151 x 150 pixels, over the limit of 22500"));
}

/// Pictures are fetched only from allowed hosts, and never from private addresses such as this machine's.
#[test]
fn urls_are_fetched_from_allowed_public_hosts_only() {
    let trained = Trained::new();
    let secret = TcpListener::bind("127.0.0.1:0").unwrap();
    secret.set_nonblocking(true).unwrap();
    let port = secret.local_addr().unwrap().port();
    let hosts = format!("localhost:{port},127.0.0.1:{port},example.org");
    let serving = Serving::start(&trained.run, &["--allow-urls", &hosts]);
    for (url, message) in [
        (format!("http://localhost:{port}/"), ": not a public address"),
        (format!("http://127.0.0.1:{port}/"), "127.0.0.1: not a public address"),
        (format!("http://[::1]:{port}/"), "not a host that this server fetches pictures from"),
        ("http://169.254.169.254/latest".to_owned(), "not a host that this server fetches pictures from"),
        ("http://example.org:22/".to_owned(), "example.org:22: not a host that this server fetches pictures from"),
    ] {
        let (status, error) = serving.post("application/json", json!({ "url": url }).to_string().as_bytes()).error();
        assert_eq!(status, 403, "{url}: {error}");
        assert!(error.contains(message), "{url}: {error}");
    }
    let (status, error) = serving.post("application/json", br#"{"url": "file:///etc/passwd"}"#).error();
    assert_eq!((status, error.as_str()), (422, "\"file:///etc/passwd\": expected http://… or https://…"));
    assert_eq!(secret.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the server has connected");
}

#[test]
fn errors_before_the_server_starts_are_one_line() {
    let trained = Trained::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let serve = |more: &[&str]| run("classify", [&["serve", trained.run.to_str().unwrap()], more].concat());
    let ran = serve(&["--port", &port]).failed_with("cannot be listened on: Address already in use");
    assert!(ran.stderr.contains("; choose another --port or --host"), "{ran:?}");
    serve(&["--port", "0", "--host", "192.0.2.1"]).failed_with("192.0.2.1:0: cannot be listened on: Cannot assign");
    serve(&["--port", "0", "--weights", "nowhere"]).failed_with("nowhere");
    for (option, value) in [
        ("--port", "70000"),
        ("--host", "example.org"),
        ("--allow-urls", "http://example.org/"),
        ("--log", "xml"),
        ("--threads", "0"),
        ("--max-pixels", "many"),
    ] {
        let ran = serve(&[option, value]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(&format!("invalid value '{value}' for '{option}")), "{ran:?}");
    }
    fs::write(trained.run.join("metrics.json"), "{").unwrap();
    serve(&["--port", "0"]).failed_with("metrics.json: damaged");
    let nowhere = temporary();
    run("classify", ["serve", nowhere.path().to_str().unwrap()]).failed_with("make one with: ");
}

/// The lean build gives the same answers, with icebox's own kernels.
#[test]
fn the_lean_build_serves_too() {
    let trained = Trained::new();
    let photo = trained.path("hat/000.png");
    let lines = trained.classify(&[&photo, "--json", "--top", "100", "--kernels", "own"]).succeeded().stdout;
    let serving = Serving::start_command(lean_command("classify"), &trained.run, &[]);
    let found = serving.post("image/png", &fs::read(photo).unwrap()).json();
    assert_eq!(found, answer_of(&serde_json::from_str(&lines).unwrap()));
}
