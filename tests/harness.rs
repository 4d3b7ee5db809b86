//! Helpers of the tests: run the real binaries, which are built once per test process and never stale, with a time
//! limit; make photos; mangle files; a sample fingerprint; compare rows; skip tests.

mod mangled;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use feature_cache::Fingerprint;
use serde_json::Value;
use tempfile::TempDir;

pub use mangled::mangled;

/// The smallest size that the network takes. A forward pass has 29 % of the multiply-adds of one at 150.
pub const SMALLEST_SIZE: [&str; 2] = ["--size", "71"];

/// The time limit for a command, longer than any takes on a slow machine: some compile a part of the workspace.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The folder with the workspace's Cargo.toml.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_owned(), Path::to_owned)
}

/// One of the workspace's binaries. Cargo builds only the binaries of the package under test, so the others are built
/// here, once, in the profile that scripts/test uses for everything.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| build(&["--package", "extract", "--package", "head", "--package", "classify"], &target()))
        .join(name)
}

/// One of the binaries, built without libtorch in a folder of its own.
pub fn lean_binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let lean = || {
        build(
            &["--package", "extract", "--package", "classify", "--package", "head", "--no-default-features"],
            &target().join("lean"),
        )
    };
    FOLDER.get_or_init(lean).join(name)
}

/// An example of one of the libraries, built with the same settings as the tests, so that nothing is compiled twice.
pub fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| build(&["--workspace", "--examples"], &target())).join("examples").join(name)
}

/// The Cargo that runs the tests.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Builds the packages of these arguments in release mode. Returns the folder of their binaries.
fn build(packages: &[&str], target: &Path) -> PathBuf {
    let mut cargo = cargo();
    let built = cargo.args(["build", "--release", "--quiet", "--target-dir"]).arg(target).args(packages);
    let built = built.current_dir(workspace()).status();
    assert!(built.is_ok_and(|status| status.success()), "the binaries do not build");
    target.join("release")
}

/// The output of a command and its exit code. Streams that were not pipes are empty.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` if a signal ended the command.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Asserts exit code 1 and an error on stderr that contains this text and repeats no part of itself.
    #[track_caller]
    pub fn failed_with(self, message: &str) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.stderr.contains(message), "expected {message:?} in {self:#?}");
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        for line in self.stderr.lines() {
            let parts: Vec<&str> = line.split(": ").collect();
            assert!(parts.windows(2).all(|pair| pair[0] != pair[1]), "repeated: {self:#?}");
        }
        self
    }

    /// The result that it printed with --json.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// Runs a binary and waits for it.
pub fn run<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Ran {
    run_command(command(name).args(arguments))
}

/// Runs any command and waits for it, but not longer than the time limit.
pub fn run_command(command: &mut Command) -> Ran {
    // In a process group of its own, so that its children can be killed with it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(command).finish()
}

/// A running command. It is killed when dropped, or when the time limit is over: then with its whole process group, if
/// it leads one.
pub struct Running {
    /// The command's process.
    pub child: Child,
    command: String,
    limit: Duration,
    /// Set when the time limit is over, before the command is killed.
    is_late: Arc<AtomicBool>,
    /// The time limit ends when this is dropped.
    _limited: Sender<()>,
}

/// Starts a command. Whoever waits for it or for its output waits at most until the time limit.
pub fn start(command: &mut Command) -> Running {
    start_with_limit(command, TIME_LIMIT)
}

/// [`start`] with another time limit.
pub fn start_with_limit(command: &mut Command, limit: Duration) -> Running {
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let is_late = Arc::new(AtomicBool::new(false));
    let (limited, ended) = channel::<()>();
    let (set_late, id) = (Arc::clone(&is_late), child.id());
    thread::spawn(move || {
        // At SIGINT a script can still end processes that it has started in other groups.
        for (signal, time) in [("INT", limit), ("KILL", limit / 20)] {
            if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                set_late.store(true, Ordering::SeqCst);
                let kill = format!("kill -s {signal} -- {id} -{id}");
                let _ = Command::new("bash").args(["-c", &kill]).stderr(Stdio::null()).status();
            }
        }
    });
    Running { child, command: format!("{command:?}"), limit, is_late, _limited: limited }
}

impl Running {
    /// Waits until it has ended, and reads meanwhile what it prints to pipes. Panics after the time limit.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        drop(self.child.stdin.take());
        let stderr = self.child.stderr.take();
        let stderr = thread::spawn(move || read(stderr));
        let stdout = read(self.child.stdout.take());
        let status = self.child.wait().unwrap_or_else(|error| panic!("{}: {error}", self.command));
        let ran = Ran { code: status.code(), stdout, stderr: stderr.join().expect("stderr can be read") };
        let (command, limit) = (&self.command, self.limit);
        assert!(!self.is_late.load(Ordering::SeqCst), "{command}: not finished after {limit:?}: {ran:#?}");
        ran
    }
}

impl Drop for Running {
    /// Does nothing after the command has ended.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream to its end; without one the text is empty.
fn read(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A command for one of the binaries, isolated.
pub fn command(name: &str) -> Command {
    isolated(Command::new(binary(name)))
}

/// [`command`] for the binary that was built without libtorch.
pub fn lean_command(name: &str) -> Command {
    isolated(Command::new(lean_binary(name)))
}

/// The command without the environment variables that change what the binaries do: those of options, hints and shard
/// numbers (of a pod or a Slurm job). It sees no GPU, on which the rounding of rows depends on the batch.
pub fn isolated(mut command: Command) -> Command {
    for name in ["ICEBOX_WEIGHTS", "ICEBOX_PYTHON", "ICEBOX_COMMAND", "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"] {
        command.env_remove(name);
    }
    for name in ["ID", "MIN", "MAX", "COUNT"] {
        command.env_remove(format!("SLURM_ARRAY_TASK_{name}"));
    }
    command.env("CUDA_VISIBLE_DEVICES", "");
    command
}

/// The command in a shell that first sets a limit, as in `ulimit -f 100`: no file of more than 100 KiB.
pub fn limited(limit: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
    wrapped(shell, command)
}

/// The wrapper with the command's program and arguments after its own, and with the command's environment.
pub fn wrapped(mut wrapper: Command, command: &Command) -> Command {
    wrapper.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    wrapper
}

/// Runs `extract` with access to the GPUs that the tests may use.
pub fn extract_on_gpu<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    let mut extract = command("extract");
    match std::env::var_os("CUDA_VISIBLE_DEVICES") {
        Some(devices) => extract.env("CUDA_VISIBLE_DEVICES", devices),
        None => extract.env_remove("CUDA_VISIBLE_DEVICES"),
    };
    run_command(extract.args(arguments))
}

/// Runs `extract DATASET --out CACHE --size 71 --json` with more arguments.
pub fn extract(dataset: &Path, cache: &Path, more: &[&str]) -> Ran {
    let arguments = [dataset.as_os_str(), "--out".as_ref(), cache.as_os_str(), "--json".as_ref()];
    run("extract", arguments.into_iter().chain(SMALLEST_SIZE.iter().chain(more).map(OsStr::new)))
}

/// Runs `head train CACHE --out RUN` with more arguments.
pub fn train(cache: &Path, run_folder: &Path, more: &[&str]) -> Ran {
    let arguments = [OsStr::new("train"), cache.as_os_str(), "--out".as_ref(), run_folder.as_os_str()];
    run("head", arguments.into_iter().chain(more.iter().map(OsStr::new)))
}

/// The folder with the 18 photos of kitchenware that scripts/setup fetches.
pub fn kitchen_folder() -> PathBuf {
    workspace().join("data/kitchenware-photos")
}

/// The 18 photos of kitchenware, in the order of their names.
pub fn kitchen_photos() -> Vec<PathBuf> {
    let entries = fs::read_dir(kitchen_folder()).expect("run scripts/setup first");
    let mut photos: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    photos.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    photos.sort();
    assert_eq!(photos.len(), 18);
    photos
}

/// Copies the photos of kitchenware into folders of classes; `class` gives the class of the photo with a number.
pub fn copy_kitchen_photos(folder: &Path, class: impl Fn(usize) -> &'static str) {
    for (k, photo) in kitchen_photos().iter().enumerate() {
        let copy = folder.join(class(k)).join(photo.file_name().unwrap_or_default());
        create_parent(&copy);
        fs::copy(photo, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    }
}

/// A data set of small generated pictures, which is removed when dropped.
pub struct Photos {
    folder: TempDir,
}

impl Photos {
    /// `count` different pictures in each of these folders, such as `train/hat`.
    pub fn new(classes: &[&str], count: usize) -> Self {
        let photos = Self { folder: temporary() };
        for (k, class) in classes.iter().enumerate() {
            for n in 0..count {
                photos.add(&format!("{class}/{n:03}.png"), (k * 1000 + n) as u32);
            }
        }
        photos
    }

    /// The data set's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("photos")
    }

    /// A path next to the data set.
    pub fn sibling(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a picture that depends on `seed`. `path` is relative to the data set.
    pub fn add(&self, path: &str, seed: u32) {
        let path = self.path().join(path);
        create_parent(&path);
        let pixel = |x: u32, y: u32| {
            let mixed = (x * 7 + y * 13 + seed * 29) ^ (x * y + seed);
            image::Rgb([mixed as u8, (mixed / 3) as u8, (mixed * 5) as u8])
        };
        let saved = image::RgbImage::from_fn(24, 18, pixel).save(&path);
        saved.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes a file with these bytes. `path` is relative to the data set.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        create_parent(&path);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// All files below a folder, for byte-for-byte comparison. Panics if one of them or a folder cannot be read.
#[track_caller]
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()));
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{}: {error}", next.display())).path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).map_or_else(|_| path.clone(), Path::to_owned);
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files.push((name, bytes));
            }
        }
    }
    files.sort();
    files
}

/// A fingerprint for generated rows, as a manifest has it.
pub const SAMPLE_FINGERPRINT: &str = r#"{
    "backbone": "none", "weights": "00", "size": 150, "interpolation": "nearest", "scaling": "none", "color": "RGB",
    "decoder": "none", "pooling": "none", "precision": "f32"
}"#;

/// [`SAMPLE_FINGERPRINT`] as a value, for the tests of all crates except feature-cache. In those of feature-cache the
/// type is not the crate's own, since the crate is compiled twice.
pub fn sample_fingerprint() -> Fingerprint {
    serde_json::from_str(SAMPLE_FINGERPRINT).unwrap_or_else(|error| panic!("{error}"))
}

/// Relative L2 distance: the length of the difference over the length of `expected`.
#[track_caller]
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut difference, mut length) = (0.0, 0.0);
    for (&found, &expected) in found.iter().zip(expected) {
        let (found, expected) = (f64::from(found), f64::from(expected));
        difference += (found - expected).powi(2);
        length += expected.powi(2);
    }
    (difference / length).sqrt()
}

/// Prints that the test is skipped, and why; the caller must return. Cargo does not show the output of a test that
/// passes, so the line is also added to the file that `ICEBOX_SKIPPED` names: scripts/test lists its lines at the end.
#[allow(clippy::print_stderr)]
pub fn note_skipped(why: &str) {
    // A test's thread has the test's name.
    let thread = thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(list) = std::env::var_os("ICEBOX_SKIPPED") {
        let added = OpenOptions::new().append(true).create(true).open(&list);
        let added = added.and_then(|mut list| list.write_all(line.as_bytes()));
        added.unwrap_or_else(|error| panic!("{}: {error}", Path::new(&list).display()));
    }
}

/// The folder with Keras's reference values and their photos, which is not part of this repository. If it is missing,
/// prints that the test is skipped; returns `None`, and the caller must return.
pub fn shared_folder() -> Option<PathBuf> {
    let shared = std::env::var_os("ICEBOX_SHARED").map_or_else(|| workspace().join("../shared"), PathBuf::from);
    if !shared.join("reference").is_dir() {
        note_skipped(&format!("no reference values in {}", shared.display()));
        return None;
    }
    Some(shared)
}

/// The Python interpreter with numpy and safetensors.
pub fn python() -> PathBuf {
    let python = workspace().join("data/python/bin/python");
    assert!(python.exists(), "run scripts/setup first: no {}", python.display());
    python
}

/// The Python interpreter with Keras and ONNX Runtime. Where it is missing, the calling test is skipped.
pub fn peers_python() -> Option<PathBuf> {
    let folder = workspace().join("data/python-peers");
    // Written when everything is installed.
    if !folder.join("packages").exists() {
        note_skipped("no Keras and ONNX Runtime; scripts/setup --peers installs them");
        return None;
    }
    Some(folder.join("bin/python"))
}

/// A folder that is removed when dropped.
pub fn temporary() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}

fn create_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    }
}
