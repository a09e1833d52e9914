//! The background threads of a node in production.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::environment::{Job, JobKind, Jobs};

/// How many threads each kind of job has.
fn thread_count(kind: JobKind, cleaner_threads: usize) -> usize {
    match kind {
        JobKind::Cleaner => cleaner_threads,
        JobKind::Controller | JobKind::Metadata | JobKind::Coordinator | JobKind::Housekeeping => 1,
        JobKind::Replication => 2,
        JobKind::Sync | JobKind::ColdRead => 4,
        // They come with the first of several log directories.
        JobKind::DirectoryMove => 0,
    }
}

fn thread_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Controller => "controller",
        JobKind::Metadata => "metadata",
        JobKind::Coordinator => "coordinator",
        JobKind::Replication => "replication",
        JobKind::Sync => "sync",
        JobKind::ColdRead => "cold-read",
        JobKind::Housekeeping => "housekeeping",
        JobKind::Cleaner => "cleaner",
        JobKind::DirectoryMove => "directory-move",
    }
}

#[derive(Default)]
struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Default)]
struct AlarmState {
    rung: bool,
    stopped: bool,
}

/// Who hears of a job that panicked.
type PanicHandler = Box<dyn Fn(String) + Send + Sync>;

/// What became of jobs that panicked: the thread goes on, and somebody is told.
#[derive(Default)]
struct Panics(Mutex<HeardPanics>);

#[derive(Default)]
struct HeardPanics {
    handler: Option<PanicHandler>,
    /// One that came before there was a handler.
    unheard: Option<String>,
}

impl Panics {
    /// Runs `work`; nothing comes back if it panicked.
    fn guard<T>(&self, thread: &str, work: impl FnOnce() -> T) -> Option<T> {
        // Whoever hears of the panic ends the node, so that nobody works on with what it left half done.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(payload) => {
                let message = payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| payload.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                self.tell(format!("a job of the {thread} thread panicked: {message}"));
                None
            }
        }
    }

    fn tell(&self, message: String) {
        let mut heard = self.0.lock();
        match &heard.handler {
            Some(handler) => handler(message),
            None => heard.unheard = Some(message),
        }
    }

    fn set_handler(&self, handler: PanicHandler) {
        let mut heard = self.0.lock();
        if let Some(message) = heard.unheard.take() {
            handler(message);
        }
        heard.handler = Some(handler);
    }
}

/// Threads that run a node's jobs and wake its timers.
pub struct ThreadJobs {
    panics: Arc<Panics>,
    /// One for each of [`JobKind::ALL`]; none any more once the threads are to end.
    queues: Mutex<Vec<Queue>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    alarm: Arc<Alarm>,
}

impl fmt::Debug for ThreadJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThreadJobs")
    }
}

impl ThreadJobs {
    /// Starts the threads of every kind of job, as many for compaction as `log.cleaner.threads` says.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(cleaner_threads: usize) -> std::io::Result<Arc<ThreadJobs>> {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        let panics = Arc::<Panics>::default();
        for kind in JobKind::ALL {
            let mut queue = Queue::new(kind);
            queue.resize(thread_count(kind, cleaner_threads), &panics, &mut threads)?;
            queues.push(queue);
        }
        Ok(Arc::new(ThreadJobs {
            panics,
            queues: Mutex::new(queues),
            threads: Mutex::new(threads),
            alarm: Arc::default(),
        }))
    }

    /// Says who hears of a job that panicked: it has left its work half done.
    pub fn on_panic(&self, handler: impl Fn(String) + Send + Sync + 'static) {
        self.panics.set_handler(Box::new(handler));
    }

    /// Starts the thread that runs timers: `run_due` runs what is due and says how many milliseconds remain to the next.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start_timers(
        &self,
        run_due: impl Fn() -> Option<u64> + Send + 'static,
    ) -> std::io::Result<()> {
        let alarm = Arc::clone(&self.alarm);
        let panics = Arc::clone(&self.panics);
        let thread = std::thread::Builder::new()
            .name("timer".to_owned())
            .spawn(move || {
                loop {
                    let wait_ms = panics.guard("timer", &run_due).flatten();
                    let mut state = alarm.state.lock();
                    if !state.rung && !state.stopped {
                        let wait = Duration::from_millis(wait_ms.unwrap_or(60_000).min(60_000));
                        let _ = alarm.changed.wait_for(&mut state, wait);
                    }
                    if state.stopped {
                        return;
                    }
                    state.rung = false;
                }
            })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Lets the jobs that were submitted finish, and ends the threads.
    pub fn stop(&self) {
        self.alarm.state.lock().stopped = true;
        self.alarm.changed.notify_all();
        self.queues.lock().clear();
        let current = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.thread().id() != current {
                let _ = thread.join();
            }
        }
    }
}

/// What a thread is given to do.
enum Work {
    Run(Job),
    /// It is one too many.
    End,
}

/// The jobs of one kind that wait for a thread.
struct Queue {
    kind: JobKind,
    sender: Sender<Work>,
    receiver: Arc<Mutex<Receiver<Work>>>,
    threads: usize,
}

impl Queue {
    fn new(kind: JobKind) -> Queue {
        let (sender, receiver) = channel();
        Queue {
            kind,
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
            threads: 0,
        }
    }

    /// Starts the threads that lack; those too many end once they have done what they are at.
    fn resize(
        &mut self,
        wanted: usize,
        panics: &Arc<Panics>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> std::io::Result<()> {
        while self.threads < wanted {
            let (kind, receiver) = (self.kind, Arc::clone(&self.receiver));
            let panics = Arc::clone(panics);
            let thread = std::thread::Builder::new()
                .name(thread_name(kind).to_owned())
                .spawn(move || run_jobs(kind, &receiver, &panics))?;
            threads.push(thread);
            self.threads += 1;
        }
        while self.threads > wanted {
            let _ = self.sender.send(Work::End);
            self.threads -= 1;
        }
        Ok(())
    }
}

fn run_jobs(kind: JobKind, receiver: &Mutex<Receiver<Work>>, panics: &Panics) {
    loop {
        let work = receiver.lock().recv();
        match work {
            Ok(Work::Run(job)) => {
                panics.guard(thread_name(kind), job);
            }
            Ok(Work::End) | Err(_) => return,
        }
    }
}

impl Jobs for ThreadJobs {
    fn submit(&self, kind: JobKind, job: Job) {
        let queues = self.queues.lock();
        if let Some(queue) = queues.iter().find(|queue| queue.kind == kind) {
            let _ = queue.sender.send(Work::Run(job));
        }
    }

    fn set_threads(&self, kind: JobKind, count: usize) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.iter_mut().find(|queue| queue.kind == kind) else {
            return;
        };
        let resized = queue.resize(count, &self.panics, &mut self.threads.lock());
        if let Err(error) = resized {
            tracing::error!(kind = thread_name(kind), count, %error, "a thread could not be started: those that are there go on");
        }
    }

    fn deadline_changed(&self) {
        self.alarm.state.lock().rung = true;
        self.alarm.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_is_told_of_and_its_thread_goes_on() {
        let jobs = ThreadJobs::start(1).unwrap();
        let (heard, hear) = channel();
        jobs.submit(JobKind::Metadata, Box::new(|| panic!("a broken invariant")));
        jobs.on_panic(move |message| heard.send(message).unwrap());
        let message = hear.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            message,
            "a job of the metadata thread panicked: a broken invariant"
        );
        let (done, wait) = channel();
        jobs.submit(JobKind::Metadata, Box::new(move || done.send(()).unwrap()));
        wait.recv_timeout(Duration::from_secs(10)).unwrap();
        jobs.stop();
    }

    #[test]
    fn a_kind_of_jobs_gets_more_threads_and_fewer() {
        let jobs = ThreadJobs::start(1).unwrap();
        jobs.set_threads(JobKind::Cleaner, 3);
        let together = Arc::new(std::sync::Barrier::new(3));
        let (met, meet) = channel();
        for _ in 0..3 {
            let (together, met) = (Arc::clone(&together), met.clone());
            let job = move || {
                together.wait();
                met.send(()).unwrap();
            };
            jobs.submit(JobKind::Cleaner, Box::new(job));
        }
        for _ in 0..3 {
            meet.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        jobs.set_threads(JobKind::Cleaner, 1);
        let (done, wait) = channel();
        for number in 0..100 {
            let done = done.clone();
            let job = move || done.send((number, std::thread::current().id())).unwrap();
            jobs.submit(JobKind::Cleaner, Box::new(job));
        }
        let ran: Vec<_> = (0..100)
            .map(|_| wait.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        assert!(ran.iter().all(|(_, thread)| *thread == ran[0].1));
        assert!(ran.iter().map(|(number, _)| *number).eq(0..100));
        jobs.stop();
    }
}
