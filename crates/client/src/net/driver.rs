//! The task that runs one machine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::connection;
use crate::core::{ConnectionId, NetworkInput, Output};

/// The least wait after a tick that changed nothing.
const IDLE_WAIT: Duration = Duration::from_millis(5);

/// A machine of the core, as the driver sees it.
pub(super) trait Machine: Send + 'static {
    type Event: Send;

    fn handle(&mut self, now_ms: i64, input: NetworkInput);
    fn poll(&mut self) -> Option<Output<Self::Event>>;
    fn next_deadline(&self) -> Option<i64>;
}

/// Milliseconds since 1970 that never go back.
#[derive(Debug)]
struct Clock {
    began: Instant,
    began_ms: i64,
}

impl Clock {
    fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            began: Instant::now(),
            began_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(0),
        }
    }

    fn now_ms(&self) -> i64 {
        self.began_ms + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }
}

/// A machine shared by the driver and the handles of its users.
pub(super) struct Shared<M: Machine> {
    machine: Mutex<M>,
    clock: Clock,
    wake: Notify,
    /// Woken whenever the machine may have changed.
    pub(super) changed: Notify,
    closed: AtomicBool,
}

impl<M: Machine> Shared<M> {
    pub(super) fn new(machine: M) -> Arc<Self> {
        Arc::new(Self {
            machine: Mutex::new(machine),
            clock: Clock::new(),
            wake: Notify::new(),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, M> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the driver that there may be outputs, or an earlier deadline.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the driver, with all connections.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Starts the task; events go to `on_event`.
pub(super) fn spawn<M: Machine>(
    shared: Arc<Shared<M>>,
    on_event: impl FnMut(M::Event) + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (inputs, received) = mpsc::unbounded_channel();
        let mut driver = Driver {
            shared,
            inputs,
            connections: HashMap::new(),
            on_event,
        };
        driver.run(received).await;
    })
}

struct Driver<M: Machine, F> {
    shared: Arc<Shared<M>>,
    inputs: mpsc::UnboundedSender<NetworkInput>,
    connections: HashMap<ConnectionId, (mpsc::UnboundedSender<Bytes>, JoinHandle<()>)>,
    on_event: F,
}

impl<M: Machine, F: FnMut(M::Event)> Driver<M, F> {
    async fn run(&mut self, mut received: mpsc::UnboundedReceiver<NetworkInput>) {
        let shared = Arc::clone(&self.shared);
        let mut heard = false;
        while !shared.closed.load(Ordering::Acquire) {
            let (any, deadline) = self.carry_out();
            if any || heard {
                shared.changed.notify_waiters();
            }
            heard = false;
            let now_ms = shared.now_ms();
            let wait = deadline.map(|deadline| {
                let wait = u64::try_from(deadline - now_ms).unwrap_or(0);
                let wait = Duration::from_millis(wait);
                if any { wait } else { wait.max(IDLE_WAIT) }
            });
            tokio::select! {
                input = received.recv() => {
                    let Some(input) = input else { break };
                    heard = true;
                    let mut machine = shared.lock();
                    machine.handle(shared.now_ms(), input);
                    while let Ok(input) = received.try_recv() {
                        machine.handle(shared.now_ms(), input);
                    }
                }
                () = shared.wake.notified() => {
                    shared.lock().handle(shared.now_ms(), NetworkInput::Tick);
                }
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {
                    shared.lock().handle(shared.now_ms(), NetworkInput::Tick);
                }
            }
        }
        self.carry_out();
        shared.changed.notify_waiters();
    }

    /// Does what the machine wants done; tells whether it wanted anything, and its deadline.
    fn carry_out(&mut self) -> (bool, Option<i64>) {
        let mut any = false;
        loop {
            let mut outputs = Vec::new();
            let deadline = {
                let mut machine = self.shared.lock();
                while let Some(output) = machine.poll() {
                    outputs.push(output);
                }
                machine.next_deadline()
            };
            if outputs.is_empty() {
                return (any, deadline);
            }
            any = true;
            for output in outputs {
                self.carry_out_one(output);
            }
        }
    }

    fn carry_out_one(&mut self, output: Output<M::Event>) {
        match output {
            Output::Connect(id, endpoint) => {
                let (frames, to_write) = mpsc::unbounded_channel();
                let inputs = self.inputs.clone();
                let task = tokio::spawn(connection::run(id, endpoint, to_write, inputs));
                self.connections.insert(id, (frames, task));
            }
            Output::Write(id, frame) => {
                if let Some((frames, _)) = self.connections.get(&id) {
                    // A closed channel means that the connection's end is already on its way.
                    let _ = frames.send(frame);
                }
            }
            Output::Close(id) => {
                if let Some((_, task)) = self.connections.remove(&id) {
                    task.abort();
                }
            }
            Output::Event(event) => (self.on_event)(event),
        }
    }
}

impl<M: Machine, F> Drop for Driver<M, F> {
    fn drop(&mut self) {
        for (_, task) in self.connections.values() {
            task.abort();
        }
    }
}
