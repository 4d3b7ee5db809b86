//! A team: the caller's thread and helpers that share its short tasks.
//!
//! The parallel parts of a training step take some 10 µs each. rayon takes several µs to hand a task to another thread,
//! and much longer if it has to wake the thread first. Helpers look for tasks all the time, so that one begins within a
//! fraction of a microsecond. Longer tasks, such as the heads of a sweep, are left to rayon.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use std::{env, hint, mem, thread};

/// The most threads of a team; few loops are long enough for more.
const MAX_THREADS: usize = 16;
/// How often a thread looks in vain, each time with a pause of some 20 ns, before it lets other threads run meanwhile.
const LOOKS_BEFORE_YIELD: u32 = 5_000;
/// How often it looks in vain before it sleeps between two looks.
const LOOKS_BEFORE_SLEEP: u32 = 10_000;
/// How long it sleeps.
const SLEEP: Duration = Duration::from_micros(100);

/// Runs `work` with helpers: the loops in it ([`for_each`], [`map`]) use as many threads as rayon would. Within `work`,
/// further calls use the same helpers. The tasks of a team and of rayon get none, since the other threads have tasks of
/// their own.
pub fn with_helpers<R>(work: impl FnOnce() -> R) -> R {
    let is_free = ROLE.with_borrow(|role| matches!(role, Role::Free)) && rayon::current_thread_index().is_none();
    if is_free { with_threads(rayon_threads(), work) } else { work() }
}

/// Runs `work` in a team of this many threads, at most 16.
pub fn with_threads<R>(threads: usize, work: impl FnOnce() -> R) -> R {
    let team = Arc::new(Team::new(threads.clamp(1, MAX_THREADS)));
    thread::scope(|scope| {
        for number in 1..team.threads {
            let team = &team;
            // If the system allows no more threads, the team does with those that it has.
            let _ = thread::Builder::new().spawn_scoped(scope, move || team.help(number));
        }
        let _end = Finally { team: &team, job: Job::End };
        let _role = Role::Leader(Arc::clone(&team)).take();
        work()
    })
}

/// How many threads rayon uses. Asking rayon would start them.
fn rayon_threads() -> usize {
    let setting = env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let setting = setting.filter(|&threads| threads > 0);
    setting.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// How many threads share the caller's loops: 1 without helpers.
pub fn threads() -> usize {
    ROLE.with_borrow(|role| if let Role::Leader(team) = role { team.threads } else { 1 })
}

/// Calls `work` with each item, on up to `threads` threads, and returns when all calls have returned. A thread begins
/// with its own part of the list, so that its caches still hold what it used for the same part of an earlier list.
pub fn for_each<T: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) + Sync) {
    let team = ROLE.with_borrow(|role| if let Role::Leader(team) = role { Some(Arc::clone(team)) } else { None });
    let Some(team) = team.filter(|_| threads > 1 && items.len() > 1) else {
        return items.into_iter().for_each(work);
    };
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    team.run(threads, &|number| {
        let (others, own) = items.split_at(number * items.len() / threads);
        for item in own.iter().chain(others) {
            // In a statement of its own, so that the lock is released before the work begins.
            let item = item.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(item) = item {
                work(item);
            }
        }
    });
}

/// The results of `work` for each item, in order, computed on all threads.
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let tasks = items.into_iter().zip(&mut results).collect();
    for_each(threads(), tasks, |(item, result)| *result = Some(work(item)));
    results.into_iter().map(|result| result.expect("for_each has called `work` with each item")).collect()
}

/// Calls both functions, at the same time if there is a helper, and returns their results.
pub fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    let (mut a_result, mut b_result) = (None, None);
    let a: Box<dyn FnOnce() + Send> = Box::new(|| a_result = Some(a()));
    let b: Box<dyn FnOnce() + Send> = Box::new(|| b_result = Some(b()));
    for_each(threads(), vec![a, b], |function| function());
    a_result.zip(b_result).expect("for_each has called both")
}

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::Free) };
}

/// What a thread does in a team.
enum Role {
    /// It is in no team.
    Free,
    /// It shares its loops with this team.
    Leader(Arc<Team>),
    /// It works on a task.
    Worker,
}

impl Role {
    /// Gives the caller's thread this role until the result is dropped.
    fn take(self) -> FormerRole {
        FormerRole(ROLE.replace(self))
    }
}

/// Gives the thread its former role back when it is dropped.
struct FormerRole(Role);

impl Drop for FormerRole {
    fn drop(&mut self) {
        ROLE.set(mem::replace(&mut self.0, Role::Free));
    }
}

/// What the threads of a team share.
struct Team {
    threads: usize,
    job: RwLock<Job>,
    /// How often `job` was replaced. Helpers look at this number, since reading it is faster than locking.
    replaced: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Job {
    /// There is nothing to do at the moment.
    Wait,
    /// To be called with the thread's number, if that is less than `threads`.
    Run { threads: usize, work: &'static (dyn Fn(usize) + Sync) },
    /// There will be nothing to do any more.
    End,
}

impl Team {
    fn new(threads: usize) -> Self {
        Self { threads, job: RwLock::new(Job::Wait), replaced: AtomicUsize::new(0) }
    }

    /// Calls `work(0)`; meanwhile each helper number k below `threads` calls `work(k)`, unless it is too late for that.
    /// Returns when all calls have returned.
    fn run(&self, threads: usize, work: &(dyn Fn(usize) + Sync)) {
        // SAFETY: helpers call `work` only while they hold the read lock of the job. Before this function returns or
        // unwinds, `Finally` takes the write lock to replace the job. By then all calls have returned, and no other
        // thread has the reference.
        #[allow(unsafe_code)]
        let work = unsafe { mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
        let _wait = Finally { team: self, job: Job::Wait };
        let _role = Role::Worker.take();
        self.replace(Job::Run { threads, work });
        work(0);
    }

    /// Replaces the job as soon as no helper works on it.
    fn replace(&self, job: Job) {
        let mut looks = Looks::default();
        loop {
            if let Ok(mut current) = self.job.try_write() {
                *current = job;
                break;
            }
            looks.pause();
        }
        self.replaced.fetch_add(1, Ordering::Release);
    }

    /// Works on one job after the other, as helper number `number`.
    fn help(&self, number: usize) {
        let _role = Role::Worker.take();
        let mut looks = Looks::default();
        let mut seen = 0;
        loop {
            let replaced = self.replaced.load(Ordering::Acquire);
            if replaced != seen
                && let Ok(job) = self.job.try_read()
            {
                seen = replaced;
                match *job {
                    Job::Run { threads, work } if number < threads => {
                        work(number);
                        looks = Looks::default();
                    }
                    Job::Run { .. } | Job::Wait => {}
                    Job::End => return,
                }
            }
            looks.pause();
        }
    }
}

/// Replaces the team's job when it is dropped, be it by a panic.
struct Finally<'a> {
    team: &'a Team,
    job: Job,
}

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.team.replace(self.job);
    }
}

/// Counts how often a thread has looked in vain for a change.
#[derive(Default)]
struct Looks(u32);

impl Looks {
    /// Pauses before the next look; the longer, the more often the thread has looked.
    fn pause(&mut self) {
        self.0 = self.0.saturating_add(1);
        match self.0 {
            ..LOOKS_BEFORE_YIELD => hint::spin_loop(),
            LOOKS_BEFORE_YIELD..LOOKS_BEFORE_SLEEP => thread::yield_now(),
            LOOKS_BEFORE_SLEEP.. => thread::sleep(SLEEP),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::sync::Barrier;

    use super::*;

    fn squares(count: usize) -> Vec<usize> {
        map((0..count).collect(), |number| number * number)
    }

    #[test]
    fn each_item_is_worked_on_once_on_any_number_of_threads() {
        for team_threads in [1, 2, 3, MAX_THREADS + 1] {
            with_threads(team_threads, || {
                assert_eq!(threads(), team_threads.min(MAX_THREADS));
                for count in [0, 1, 2, 5, 100] {
                    let expected: Vec<usize> = (0..count).map(|number| number * number).collect();
                    for _ in 0..100 {
                        assert_eq!(squares(count), expected, "{team_threads} {count}");
                    }
                }
                assert_eq!(join(|| "a", || 2), ("a", 2));
            });
        }
    }

    #[test]
    fn helpers_that_have_fallen_asleep_still_help() {
        with_threads(2, || {
            thread::sleep(100 * SLEEP);
            // Each task waits for the other one, so two threads are needed.
            let barrier = Barrier::new(2);
            for_each(2, vec![(), ()], |()| _ = barrier.wait());
        });
    }

    #[test]
    fn tasks_and_threads_of_rayon_have_no_helpers() {
        let inside = with_threads(3, || map(vec![(); 9], |()| (threads(), with_helpers(threads), squares(3))));
        assert_eq!(inside, vec![(1, 1, vec![0, 1, 4]); 9]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| with_helpers(threads)), 1);
        assert_eq!(threads(), 1);
        assert_eq!(with_threads(3, || with_helpers(threads)), 3);
    }

    #[test]
    fn several_teams_work_at_the_same_time() {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    with_threads(3, || {
                        for _ in 0..200 {
                            assert_eq!(squares(10).iter().sum::<usize>(), 285);
                        }
                    });
                });
            }
        });
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        for panicking in 0..8 {
            let work = || for_each(2, (0..8).collect(), |number: usize| assert_ne!(number, panicking));
            assert!(panic::catch_unwind(|| with_threads(2, work)).is_err());
        }
        assert_eq!(with_threads(2, || squares(3)), [0, 1, 4]);
    }
}
