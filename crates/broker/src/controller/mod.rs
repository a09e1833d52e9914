//! The controller's shell: drives consensus and decisions, and keeps the metadata log.
//!
//! Everything runs as jobs of one kind, one after another. A request decides on the newest state, its records are appended and replayed at once, and one sync makes all that a round appended durable; then the answers go out and the committed image goes to the broker.

mod core;
mod metadata_log;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use ottla_metadata::controller::Decision;
use ottla_protocol::ErrorCode;
use parking_lot::Mutex;

pub(crate) use self::core::{Active, Core};

use crate::environment::{Environment, JobKind};
use crate::error::Error;
use crate::log_directories::LogDirectories;
use crate::node::Node;
use crate::options::NodeOptions;

/// One thing that the controller has to do.
type Event = Box<dyn FnOnce(&mut Core, &Arc<Node>) + Send>;

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    is_scheduled: bool,
}

/// The way to the controller from any thread.
pub(crate) struct Controller {
    inbox: Mutex<Inbox>,
    core: Mutex<Core>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

impl Controller {
    /// Opens the metadata log and what belongs to it.
    pub(crate) fn open(
        options: &NodeOptions,
        environment: &Environment,
        directories: &LogDirectories,
    ) -> Result<Controller, Error> {
        Ok(Controller {
            inbox: Mutex::default(),
            core: Mutex::new(Core::open(options, environment, directories)?),
        })
    }

    /// Takes up consensus.
    pub(crate) fn start(&self, node: &Arc<Node>) {
        self.submit(node, |core, node| core.start(node));
    }

    /// Asks for a decision; `then` hears the response when its records are committed.
    pub(crate) fn decide<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        decide: impl FnOnce(&mut Active<'_>) -> Decision<R> + Send + 'static,
        then: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        self.submit(node, move |core, node| core.decide(node, decide, then));
    }

    /// Queues an event; the first of a round schedules the job that runs them all.
    pub(crate) fn submit(
        &self,
        node: &Arc<Node>,
        event: impl FnOnce(&mut Core, &Arc<Node>) + Send + 'static,
    ) {
        let mut inbox = self.inbox.lock();
        inbox.events.push_back(Box::new(event));
        if std::mem::replace(&mut inbox.is_scheduled, true) {
            return;
        }
        drop(inbox);
        node.submit(JobKind::Controller, |node| node.controller().run(node));
    }

    fn run(&self, node: &Arc<Node>) {
        let mut core = self.core.lock();
        loop {
            let events = {
                let mut inbox = self.inbox.lock();
                if inbox.events.is_empty() {
                    inbox.is_scheduled = false;
                    return;
                }
                std::mem::take(&mut inbox.events)
            };
            for event in events {
                event(&mut core, node);
            }
            core.finish_round(node);
        }
    }

    /// Ends the metadata log's service with everything on disk.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.core.lock().close()
    }
}
