//! Progress of a long step: a bar on a terminal, a line every ten seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::lines::write_note;

/// Time between two lines if stderr is not a terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// The progress of one step, on stderr.
pub struct Progress {
    bar: ProgressBar,
    step: &'static str,
    what: &'static str,
    /// When the last line was written, or the step begun; `None` on a terminal.
    last_line: Option<Mutex<Instant>>,
}

impl Progress {
    /// Begins the step `step`, as in `extracting`, over `total` items called `what`, as in `rows`.
    pub fn start(step: &'static str, total: usize, what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            let bar = ProgressBar::hidden();
            bar.set_length(total as u64);
            return Self { bar, step, what, last_line: Some(Mutex::new(Instant::now())) };
        }
        let style = format!("{{msg:10}} {{bar:30}} {{pos}}/{{len}} {what}, {{per_sec:.1}}, {{eta}} left");
        let style = ProgressStyle::with_template(&style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total as u64).with_style(style).with_message(step);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, step, what, last_line: None }
    }

    /// Adds `count` finished items.
    pub fn advance(&self, count: usize) {
        self.bar.inc(count as u64);
        let Some(last_line) = &self.last_line else { return };
        if let Ok(mut last_line) = last_line.try_lock()
            && last_line.elapsed() >= INTERVAL
        {
            *last_line = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let rate = done as f64 / self.bar.elapsed().as_secs_f64();
            let left = (total - done.min(total)) as f64 / rate;
            let (step, what) = (self.step, self.what);
            write_note(format_args!("{step}: {done}/{total} {what}, {rate:.1}/s, {left:.0} s left"));
        }
    }

    /// Takes the bar off the terminal, runs `print`, and draws the bar again.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
