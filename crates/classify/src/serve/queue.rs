//! Pictures that wait for a worker, in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use backbone::NetworkError;
use head::prediction::Prediction;
use tokio::sync::oneshot;

use super::upload::Upload;
use crate::model::AnswerError;

/// The maximum number of waiting pictures: on two cores, some two seconds of work.
pub const MAX_JOBS: usize = 128;

/// How long the oldest picture waits for others to share its batch, if no other worker is idle.
const MAX_WAIT: Duration = Duration::from_millis(5);

/// A picture to be answered.
#[derive(Debug)]
pub struct Job {
    picture: Upload,
    answer: oneshot::Sender<JobResult>,
    arrived: Instant,
}

/// The answer for a picture, or why there is none.
pub type JobResult = Result<Prediction, JobError>;

/// Why a job has no answer.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The picture cannot be used.
    #[error(transparent)]
    Picture(#[from] AnswerError),
    /// The network cannot be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Job {
    /// A job, and the receiver of its answer. If the receiver is dropped, the job is not computed.
    pub fn new(picture: Upload) -> (Self, oneshot::Receiver<JobResult>) {
        let (answer, receiver) = oneshot::channel();
        (Self { picture, answer, arrived: Instant::now() }, receiver)
    }

    /// The picture and the sender of its answer; `None` if the receiver was dropped.
    pub fn start(self) -> Option<(Upload, oneshot::Sender<JobResult>)> {
        if self.answer.is_closed() { None } else { Some((self.picture, self.answer)) }
    }
}

/// There is no room for the jobs.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The queue, shared by requests and workers.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Workers inside [`Queue::take`].
    idle: usize,
    closed: bool,
}

impl Queue {
    /// Adds the jobs of a request at the end: all or none.
    ///
    /// # Errors
    /// If there is no room.
    pub fn add(&self, jobs: Vec<Job>) -> Result<(), Full> {
        let mut state = self.lock();
        if state.jobs.len() + jobs.len() > MAX_JOBS {
            return Err(Full);
        }
        state.jobs.extend(jobs);
        self.changed.notify_all();
        Ok(())
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Waits for jobs and takes up to `max` of them; if other workers are idle, too, only this worker's share. `None`
    /// once the queue is closed and empty.
    pub fn take(&self, max: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        state.idle += 1;
        loop {
            let Some(first) = state.jobs.front() else {
                if state.closed {
                    state.idle -= 1;
                    return None;
                }
                state = self.changed.wait(state).expect(NO_PANIC);
                continue;
            };
            // A larger batch takes less time per picture, so the last idle worker waits for more jobs. Any other takes
            // its share and starts at once.
            let left = MAX_WAIT.saturating_sub(first.arrived.elapsed());
            if state.jobs.len() >= max || state.idle > 1 || state.closed || left.is_zero() {
                break;
            }
            (state, _) = self.changed.wait_timeout(state, left).expect(NO_PANIC);
        }
        let count = state.jobs.len().div_ceil(state.idle).min(max);
        state.idle -= 1;
        Some(state.jobs.drain(..count).collect())
    }

    /// Lets the workers end when the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::serve::upload::Budget;

    /// Jobs whose pictures are a byte with their number, and where the answers would arrive.
    fn jobs(count: usize) -> (Vec<Job>, Vec<oneshot::Receiver<JobResult>>) {
        let budget = Budget::new();
        let job = |number| {
            let mut picture = budget.upload();
            picture.push(&[number as u8]).unwrap();
            Job::new(picture)
        };
        (0..count).map(job).unzip()
    }

    fn numbers(jobs: Vec<Job>) -> Vec<u8> {
        jobs.into_iter().map(|job| job.picture.as_ref()[0]).collect()
    }

    #[test]
    fn jobs_leave_in_their_order_and_no_more_than_asked_for() {
        let queue = Queue::default();
        queue.add(jobs(5).0).unwrap();
        assert_eq!(numbers(queue.take(3).unwrap()), [0, 1, 2]);
        assert_eq!(numbers(queue.take(3).unwrap()), [3, 4]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn all_jobs_of_a_request_fit_or_none() {
        let queue = Queue::default();
        queue.add(jobs(MAX_JOBS - 1).0).unwrap();
        assert_eq!(queue.add(jobs(2).0), Err(Full));
        assert_eq!(queue.len(), MAX_JOBS - 1);
        queue.add(jobs(1).0).unwrap();
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        queue.add(jobs(3).0).unwrap();
        queue.close();
        assert_eq!(numbers(queue.take(2).unwrap()), [0, 1]);
        assert_eq!(numbers(queue.take(2).unwrap()), [2]);
        assert!(queue.take(2).is_none());
    }

    #[test]
    fn workers_that_wait_share_the_jobs() {
        let queue = Queue::default();
        thread::scope(|scope| {
            let workers = [(); 2].map(|()| scope.spawn(|| numbers(queue.take(8).unwrap())));
            while queue.lock().idle < 2 {
                thread::yield_now();
            }
            queue.add(jobs(6).0).unwrap();
            let mut taken = workers.map(|worker| worker.join().unwrap());
            taken.sort();
            assert_eq!(taken, [[0, 1, 2], [3, 4, 5]]);
        });
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_not_started() {
        let (jobs, mut receivers) = jobs(2);
        receivers.pop();
        let started: Vec<bool> = jobs.into_iter().map(|job| job.start().is_some()).collect();
        assert_eq!(started, [true, false]);
    }
}
