//! A panic while one photo is decoded or resized becomes that photo's error.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, Location, catch_unwind};
use std::sync::Once;

use super::limits::PixelError;

thread_local! {
    /// `Some` while this thread is in [`guarded`]: file and line of its last panic there, or an empty string before a
    /// panic.
    static PANIC_LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it becomes an error and is not printed. For that, the first call installs a panic hook,
/// which passes all other panics to the previous hook.
///
/// # Errors
/// Those of `work`, or that it panicked.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, PixelError>) -> Result<T, PixelError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_guarded = PANIC_LOCATION.with_borrow_mut(|location| {
                if let Some(location) = location {
                    *location = info.location().map_or_else(String::new, short_path);
                }
                location.is_some()
            });
            if !is_guarded {
                previous_hook(info);
            }
        }));
    });
    // Restored after the call, since calls may be nested.
    let outer_location = PANIC_LOCATION.replace(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(work));
    let location = PANIC_LOCATION.replace(outer_location).unwrap_or_default();
    result.unwrap_or_else(|payload| {
        Err(PixelError::Panicked { problem: format!("{} ({location})", message(payload.as_ref())) })
    })
}

/// File and line, with only the last folders of the path, since the others are those of the build machine.
fn short_path(location: &Location<'_>) -> String {
    const PARTS: usize = 4;
    let parts: Vec<&str> = location.file().split('/').collect();
    format!("{}:{}", parts[parts.len().saturating_sub(PARTS)..].join("/"), location.line())
}

/// The message in a panic's payload, which is a `&str` or, if it was formatted, a `String`.
fn message(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let empty: &[u8] = &[];
        let error = guarded(|| Ok(empty[usize::from(empty.is_empty())])).unwrap_err();
        let PixelError::Panicked { problem } = &error else { panic!("{error:?}") };
        assert!(problem.starts_with("index out of bounds: the len is 0 but the index is 1 ("), "{problem}");
        assert!(problem.contains("src/pixels/guard.rs:"), "{problem}");
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        assert_eq!(guarded::<()>(|| Err(PixelError::Truncated)), Err(PixelError::Truncated));
        assert!(PANIC_LOCATION.with_borrow(Option::is_none), "the next panic of this thread is printed");
    }
}
