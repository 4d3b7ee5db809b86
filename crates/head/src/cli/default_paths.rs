//! Default output folders.

use std::path::{Path, PathBuf};

use head::run::RunError;

/// The folder of runs and sweeps.
pub const RUNS: &str = "runs";

/// Where a run or sweep is written.
#[derive(Debug)]
pub enum Destination {
    /// The path of --out.
    Given(PathBuf),
    /// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    Numbered { name: String },
}

impl Destination {
    /// The path of --out; without one, `runs/NAME-1`, `runs/NAME-2`, …, where NAME is the name of the cache's folder
    /// (with symbolic links followed) and then `suffix`.
    pub fn new(out: Option<&Path>, cache: &Path, suffix: &str) -> Self {
        if let Some(out) = out {
            return Self::Given(out.to_owned());
        }
        let path = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
        let name = path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
        Self::Numbered { name: format!("{name}{suffix}") }
    }

    /// Calls `take` with the path. If `take` finds a numbered path taken, perhaps by another process that was started
    /// together with this one, it is called with the next.
    ///
    /// # Errors
    /// Those of `take`, except [`RunError::Exists`] for a numbered path.
    pub fn take<T>(&self, take: impl Fn(&Path) -> Result<T, RunError>) -> Result<T, RunError> {
        let name = match self {
            Self::Given(path) => return take(path),
            Self::Numbered { name } => name,
        };
        let mut number = 1;
        loop {
            match take(&Path::new(RUNS).join(format!("{name}-{number}"))) {
                Err(RunError::Exists(_)) => number += 1,
                taken => return taken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_number_is_followed_by_the_next_and_a_taken_out_is_an_error() {
        let third_is_free = |path: &Path| match path.to_str() {
            Some("runs/mine-sweep-3") => Ok(path.to_owned()),
            _ => Err(RunError::Exists(path.to_owned())),
        };
        let numbered = Destination::new(None, "caches/mine".as_ref(), "-sweep");
        assert_eq!(numbered.take(third_is_free).unwrap(), Path::new("runs/mine-sweep-3"));
        let given = Destination::new(Some("out".as_ref()), "caches/mine".as_ref(), "-sweep");
        assert!(matches!(given.take(third_is_free), Err(RunError::Exists(path)) if path == Path::new("out")));
        let other = |path: &Path| Err::<(), _>(RunError::NotARun(path.to_owned()));
        assert!(matches!(numbered.take(other), Err(RunError::NotARun(_))));
    }
}
