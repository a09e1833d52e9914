//! The controller's shell: drives consensus and decisions, and keeps the metadata log.
//!
//! Everything runs as jobs of one kind, one after another. A request decides on the newest state, its records are appended and replayed at once, and one sync makes all that a round appended durable; then the answers go out and the committed image goes to the broker.

mod asking;
mod consensus;
mod core;
mod early_fencing;
mod load;
mod metadata_log;
mod reachability;
mod requests;
mod snapshot_files;
mod snapshots;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use self::asking::ControllerChannels;
pub(crate) use self::asking::OnBehalf;
use self::consensus::LeaderView;
pub(crate) use self::core::Core;
pub(crate) use self::requests::{Asked, ControllerRequest};

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
    leader: ArcSwap<LeaderView>,
    channels: ControllerChannels,
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
            leader: ArcSwap::default(),
            channels: ControllerChannels::default(),
            core: Mutex::new(Core::open(options, environment, directories)?),
        })
    }

    /// Takes up consensus.
    pub(crate) fn start(&self, node: &Arc<Node>) {
        self.submit(node, |core, node| core.start(node));
    }

    /// Who leads the quorum, as far as this node knows.
    pub(crate) fn leader(&self) -> LeaderView {
        LeaderView::clone(&self.leader.load())
    }

    fn set_leader(&self, view: LeaderView) {
        let before = self.leader.load_full();
        if *before == view {
            return;
        }
        let moved = before.address != view.address;
        self.leader.store(Arc::new(view));
        if moved {
            self.channels.leave();
        }
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
    pub(crate) fn close(&self, node: &Arc<Node>) -> Result<(), Error> {
        self.core.lock().close(node)
    }
}
