//! Controls a headless Chromium by the DevTools protocol, over pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::add_options;

/// The time limit for an answer, longer than any takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running browser; it is ended when dropped.
pub struct Chromium {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    /// The events of the pages, in order.
    events: Vec<Value>,
    _profile: TempDir,
}

/// A tab of a browser.
pub struct Tab<'a> {
    browser: &'a mut Chromium,
    session: String,
}

impl Chromium {
    /// Starts the program.
    pub fn start(program: &Path) -> Self {
        let profile = end_to_end::temporary();
        // Messages go over the file descriptors 3 and 4; each ends with a zero byte.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>&2"]).arg(program);
        add_options(&mut command, profile.path());
        command.arg("--remote-debugging-pipe");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let commands = child.stdin.take().unwrap();
        Self { child, commands, messages, last_id: 0, events: Vec::new(), _profile: profile }
    }

    /// Opens a tab of this size, dark or light.
    pub fn open(&mut self, width: u32, height: u32, dark: bool) -> Tab<'_> {
        self.events.clear();
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        tab.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        tab.call("Emulation.setEmulatedMedia", json!({"features": [scheme]}));
        tab
    }

    /// Calls a method of the protocol, on the browser or in a tab's session. Returns its result.
    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(TIMEOUT).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == json!(self.last_id) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tab<'_> {
    /// Calls a method of the protocol on this tab. Returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// The value of a JavaScript expression.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result:#}");
        result["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        for _ in 0..600 {
            if self.evaluate(expression) == json!(true) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("never true: {expression}, {:#?}", self.browser.events);
    }

    /// Drops files on the page, as from a file manager.
    pub fn drop_files(&mut self, files: &[&Path]) {
        let data = json!({"items": [], "files": files, "dragOperationsMask": 1});
        for event in ["dragEnter", "dragOver", "drop"] {
            self.call("Input.dispatchDragEvent", json!({"type": event, "x": 100, "y": 100, "data": data}));
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32) {
        for event in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": event, "key": key, "windowsVirtualKeyCode": code}));
        }
    }

    /// The parameters of all events with this name so far.
    pub fn events(&self, name: &str) -> Vec<&Value> {
        let events = self.browser.events.iter();
        events.filter(|event| event["method"] == name).map(|event| &event["params"]).collect()
    }

    /// The messages on the console: those of the page, and the browser's errors and warnings.
    pub fn console(&self) -> Vec<&Value> {
        let mut messages = Vec::new();
        for name in ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"] {
            messages.extend(self.events(name));
        }
        messages
    }
}
