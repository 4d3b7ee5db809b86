//! A memory limit that threads share: a thread waits until enough of it is free.

use std::sync::{Condvar, Mutex};

/// A semaphore that counts bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// Bytes that are not reserved.
    free: Mutex<u64>,
    released: Condvar,
    total: u64,
}

impl MemoryBudget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { free: Mutex::new(total), released: Condvar::new(), total }
    }

    /// Waits until `bytes` are free, and reserves them while `work` runs. Work that takes more than the whole budget
    /// reserves all of it, and so runs alone.
    pub fn run<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let bytes = bytes.min(self.total);
        let free = self.free.lock().expect(NO_PANIC);
        let mut free = self.released.wait_while(free, |free| *free < bytes).expect(NO_PANIC);
        *free -= bytes;
        drop(free);
        // Released even if `work` panics.
        let _reservation = Reservation { budget: self, bytes };
        work()
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

/// Bytes that are reserved until this is dropped.
struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().expect(NO_PANIC) += self.bytes;
        self.budget.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_bytes_are_reserved_than_the_budget_has() {
        let budget = MemoryBudget::new(10);
        let in_use = AtomicU64::new(0);
        thread::scope(|scope| {
            for bytes in [3, 4, 5, 6, 7, 8, 9, 10, 11] {
                let (budget, in_use) = (&budget, &in_use);
                scope.spawn(move || {
                    for _ in 0..100 {
                        budget.run(bytes, || {
                            assert!(in_use.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10) <= 10);
                            thread::yield_now();
                            in_use.fetch_sub(bytes.min(10), Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(catch_unwind(AssertUnwindSafe(|| budget.run(10, || panic!("a bug")))).is_err());
        assert_eq!(budget.run(10, || 1), 1);
    }
}
