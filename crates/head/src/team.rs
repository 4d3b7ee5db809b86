//! A team: the caller's thread, the leader, and helpers that share its short tasks.
//!
//! The parallel parts of a training step take some 10 µs each. rayon takes several µs to hand a task to another thread,
//! and much longer if it has to wake the thread first. Helpers keep looking for tasks, so that a task begins within a
//! fraction of a microsecond; after a millisecond without tasks they sleep. Longer tasks, such as the heads of a sweep,
//! are left to rayon. The tasks of a team must not wait for rayon, whose threads may all be waiting for their teams.

use std::any::Any;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, hint, mem, ptr, thread};

/// The most threads of a team.
const MAX_THREADS: usize = 64;
/// How often a waiting thread looks, with pauses of some 20 ns, before it lets others run between two looks.
const LOOKS_BEFORE_YIELD: u32 = 500;
/// How often it looks before it sleeps between two looks.
const LOOKS_BEFORE_SLEEP: u32 = 2_500;
/// How long it sleeps.
const SLEEP: Duration = Duration::from_micros(100);

/// Runs `work` with helpers: the loops in it ([`for_each`], [`map`]) use as many threads as rayon does by default.
/// Within `work`, further calls use the same helpers. Tasks of a team and of rayon run without helpers, since the other
/// threads have tasks of their own.
pub fn with_helpers<R>(work: impl FnOnce() -> R) -> R {
    let is_free = ROLE.with_borrow(|role| matches!(role, Role::Free)) && rayon::current_thread_index().is_none();
    if is_free { with_threads(default_threads(), work) } else { work() }
}

/// Runs `work` in a team of this many threads, at most 64.
pub fn with_threads<R>(threads: usize, work: impl FnOnce() -> R) -> R {
    let team = Arc::new(Team::new(threads.clamp(1, MAX_THREADS)));
    thread::scope(|scope| {
        let _end = EndOfTeam(&team);
        for number in 1..team.threads() {
            let team = &team;
            // If the system allows no more threads, the team does with those that it has.
            let _ = thread::Builder::new().spawn_scoped(scope, move || team.help(number));
        }
        let _role = Role::Leader(Arc::clone(&team)).take();
        work()
    })
}

/// How many threads rayon uses by default. `rayon::current_num_threads` would start them.
fn default_threads() -> usize {
    let setting = env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let setting = setting.filter(|&threads| threads > 0);
    setting.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// How many threads share the caller's loops: 1 without helpers.
pub fn threads() -> usize {
    ROLE.with_borrow(|role| role.team().map_or(1, |team| team.threads()))
}

/// Calls `work` with each item, on up to `threads` threads of the team, and returns when all calls have returned. A
/// thread begins with its own part of the list, so that its caches still hold what it used for the same part of an
/// earlier list.
pub fn for_each<T: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) + Sync) {
    let team = ROLE.with_borrow(|role| role.team().cloned());
    let Some(team) = team.filter(|_| threads > 1 && items.len() > 1) else {
        return items.into_iter().for_each(work);
    };
    let threads = threads.min(team.threads());
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let work_as = |number: usize| {
        let (others, own) = items.split_at(number * items.len() / threads);
        for item in own.iter().chain(others) {
            // In a statement of its own, so that the lock is released before the work begins.
            let item = item.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(item) = item {
                work(item);
            }
        }
    };
    let _role = Role::Worker.take();
    team.run(threads, &work_as);
}

/// The results of `work` for each item, in order, computed on all threads of the team.
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
    /// It works for a team.
    Worker,
}

impl Role {
    /// The team that the thread leads.
    fn team(&self) -> Option<&Arc<Team>> {
        if let Self::Leader(team) = self { Some(team) } else { None }
    }

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
    /// Helper number k has the mailbox at k - 1.
    mailboxes: Vec<Mailbox>,
    /// The panic of a task that a helper worked on.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A function to be called with the number of the thread.
type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// Where a helper finds its next job. Mailboxes share no cache lines, since helpers look at theirs all the time.
#[derive(Default)]
#[repr(align(128))]
struct Mailbox {
    /// [`EMPTY`], [`POSTED`], [`TAKEN`] or [`END`].
    state: AtomicU8,
    /// The job, if it is posted or taken. It points to the leader's reference, since an atomic holds no fat pointer.
    job: AtomicPtr<Job<'static>>,
}

/// The helper has nothing to do.
const EMPTY: u8 = 0;
/// The helper may take the job, and the leader may take it back.
const POSTED: u8 = 1;
/// The helper is working on the job.
const TAKEN: u8 = 2;
/// There will be no more jobs.
const END: u8 = 3;

impl Team {
    fn new(threads: usize) -> Self {
        Self { mailboxes: (1..threads).map(|_| Mailbox::default()).collect(), panic: Mutex::new(None) }
    }

    fn threads(&self) -> usize {
        self.mailboxes.len() + 1
    }

    /// Calls `job(0)`; meanwhile each helper number k below `threads` calls `job(k)`, unless it is too late for that.
    /// Returns when all calls have returned, or panics if one of them did.
    fn run(&self, threads: usize, job: Job<'_>) {
        let mailboxes = &self.mailboxes[..threads - 1];
        for mailbox in mailboxes {
            mailbox.post(&job);
        }
        let result = catch_unwind(AssertUnwindSafe(|| job(0)));
        for mailbox in mailboxes {
            mailbox.take_back_or_wait();
        }
        let helper_panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = result.err().or(helper_panic) {
            resume_unwind(panic);
        }
    }

    /// Works on one job after the other, as helper number `number`.
    fn help(&self, number: usize) {
        let _role = Role::Worker.take();
        let mailbox = &self.mailboxes[number - 1];
        let mut backoff = Backoff::default();
        loop {
            match mailbox.state.load(Ordering::Relaxed) {
                POSTED if mailbox.change(POSTED, TAKEN) => {
                    let job = mailbox.job.load(Ordering::Relaxed);
                    // SAFETY: the pointer is to a variable of `Team::run`, which neither returns nor unwinds before
                    // this mailbox is empty again.
                    #[allow(unsafe_code)]
                    let job = unsafe { *job };
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(number))) {
                        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                    }
                    mailbox.state.store(EMPTY, Ordering::Release);
                    backoff = Backoff::default();
                }
                END => return,
                _ => backoff.pause(),
            }
        }
    }
}

impl Mailbox {
    /// Hands a job to the helper. All that the leader has written before is visible to the helper.
    fn post(&self, job: &Job<'_>) {
        self.job.store(ptr::from_ref(job).cast::<Job<'static>>().cast_mut(), Ordering::Relaxed);
        self.state.store(POSTED, Ordering::Release);
    }

    /// Takes the job back if the helper has not begun; otherwise waits until it is done. All that the helper has written
    /// is then visible to the leader.
    fn take_back_or_wait(&self) {
        let mut backoff = Backoff::default();
        loop {
            match self.state.load(Ordering::Acquire) {
                POSTED if self.change(POSTED, EMPTY) => return,
                POSTED | TAKEN => backoff.pause(),
                _ => return,
            }
        }
    }

    /// Changes the state from `from` to `to`; `false` if it is not `from`.
    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// Ends the helpers when it is dropped, also when a panic unwinds.
struct EndOfTeam<'a>(&'a Team);

impl Drop for EndOfTeam<'_> {
    fn drop(&mut self) {
        for mailbox in &self.0.mailboxes {
            mailbox.state.store(END, Ordering::Release);
        }
    }
}

/// How often a thread has looked in vain for what it waits for.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    /// Pauses before the next look: the more looks, the longer.
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
    use std::sync::atomic::AtomicUsize;

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
            let names = map(vec![(); 2], |()| {
                thread::sleep(100 * SLEEP);
                thread::current().id()
            });
            assert_ne!(names[0], names[1]);
        });
    }

    #[test]
    fn tasks_run_without_helpers() {
        let inside = with_threads(3, || map(vec![(); 9], |()| (threads(), with_helpers(threads), squares(3))));
        assert_eq!(inside, vec![(1, 1, vec![0, 1, 4]); 9]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| with_helpers(threads)), 1);
    }

    #[test]
    fn a_leader_keeps_its_helpers() {
        assert_eq!(threads(), 1);
        assert_eq!(with_threads(3, || with_helpers(threads)), 3);
        assert_eq!(threads(), 1);
    }

    #[test]
    fn fewer_threads_than_the_team_has_or_more_do_all_the_work() {
        with_threads(3, || {
            for threads in [0, 1, 2, 3, 8] {
                let sum = AtomicUsize::new(0);
                for_each(threads, (1..=10).collect(), |number| _ = sum.fetch_add(number, Ordering::Relaxed));
                assert_eq!(sum.into_inner(), 55, "{threads} threads");
            }
        });
    }

    #[test]
    fn a_team_does_without_helpers_that_could_not_start() {
        let calls = Mutex::new(Vec::new());
        Team::new(3).run(3, &|number| calls.lock().unwrap().push(number));
        assert_eq!(calls.into_inner().unwrap(), [0]);
    }

    #[test]
    fn a_panic_outside_the_tasks_ends_the_team() {
        let result = catch_unwind(|| with_threads(3, || assert!(squares(3).is_empty(), "outside")));
        assert!(result.is_err());
        assert_eq!(threads(), 1);
    }

    #[test]
    fn when_all_threads_panic_the_next_job_does_not() {
        with_threads(2, || {
            let task = |()| {
                // The other thread takes the other task meanwhile.
                thread::sleep(10 * SLEEP);
                panic!("this task panics");
            };
            assert!(catch_unwind(AssertUnwindSafe(|| for_each(2, vec![(); 2], task))).is_err());
            assert_eq!(squares(3), [0, 1, 4]);
        });
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
    fn a_panic_in_a_task_reaches_the_leader_at_once() {
        for panicking in [0, 1] {
            let work = || {
                // The thread that works on a task sleeps, so that the other one takes the other task.
                let task = |number: usize| {
                    thread::sleep(10 * SLEEP);
                    assert_ne!(number, panicking, "this task panics");
                };
                let result = catch_unwind(AssertUnwindSafe(|| for_each(2, vec![0, 1], task)));
                let panic = result.expect_err("a task has panicked");
                assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("this task panics")));
                squares(3)
            };
            assert_eq!(with_threads(2, work), [0, 1, 4], "the team works on after a panic");
        }
    }
}
