//! The admin client.

mod acls;
mod cluster;
mod configs;
mod credentials;
mod features;
mod groups;
mod leaders;
mod log_dirs;
mod offsets;
mod partitions;
mod quorum;
mod quotas;
mod share_groups;
mod streams_groups;
mod tokens;
mod topics;
mod transactions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla_protocol::messages::Request;
use ottla_protocol::{ErrorCode, KafkaString, Message};
use tokio::sync::oneshot;

use super::driver::{self, Machine, Shared};
use crate::Error;
use crate::core::admin::is_wrong_broker;
use crate::core::call::{Call, RawResponse, RequestId};
use crate::core::cluster::{Completion, CoordinatorKind};
use crate::core::metadata::Metadata;
use crate::core::{Cluster, Destination, NetworkInput, Output};
use crate::settings::Settings;

impl Machine for Cluster {
    type Event = Completion;

    fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        Cluster::handle(self, now_ms, input);
    }

    fn poll(&mut self) -> Option<Output<Completion>> {
        Cluster::poll(self)
    }

    fn next_deadline(&self) -> Option<i64> {
        Cluster::next_deadline(self)
    }
}

type Waiting = Arc<Mutex<HashMap<RequestId, oneshot::Sender<Result<RawResponse, Error>>>>>;

/// Asks a cluster about itself, and changes it.
///
/// A call that is dropped before it is done may or may not have had its effect.
pub struct Admin {
    shared: Arc<Shared<Cluster>>,
    waiting: Waiting,
    timeout_ms: i64,
    controllers: bool,
}

/// A request that is under way.
struct Pending {
    answer: oneshot::Receiver<Result<RawResponse, Error>>,
}

impl Pending {
    async fn wait(self) -> Result<RawResponse, Error> {
        self.answer.await.unwrap_or(Err(Error::Closed))
    }
}

impl Admin {
    /// A client with these settings; it connects when it is first asked for something.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut options = settings.cluster_options()?;
        options.allow_auto_topic_creation = false;
        options.seed = super::seed();
        let controllers = options.controllers;
        let timeout_ms = match settings.get("default.api.timeout.ms") {
            Some(value) => value.parse().map_err(|_| Error::InvalidSetting {
                name: "default.api.timeout.ms".into(),
                value: value.into(),
                reason: "Not a number of type INT".into(),
            })?,
            None => 60_000,
        };
        let shared = Shared::new(Cluster::new(options));
        let waiting = Waiting::default();
        let to_answer = Arc::clone(&waiting);
        driver::spawn(Arc::clone(&shared), move |completion: Completion| {
            let mut waiting = to_answer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = waiting.remove(&completion.id) {
                // Whoever asked may have gone.
                let _ = sender.send(completion.result);
            }
        });
        Ok(Self {
            shared,
            waiting,
            timeout_ms,
            controllers,
        })
    }

    /// The same client, with a limit on each call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Sends any request of the protocol.
    pub async fn request<R: Request + Send + 'static>(
        &self,
        destination: Destination,
        request: R,
    ) -> Result<R::Response, Error> {
        self.start(destination, request).wait().await?.decode()
    }

    fn start(&self, destination: Destination, call: impl Call + 'static) -> Pending {
        let (sender, answer) = oneshot::channel();
        let now_ms = self.shared.now_ms();
        let deadline_ms = now_ms.saturating_add(self.timeout_ms);
        let mut cluster = self.shared.lock();
        let id = cluster.send(now_ms, destination, Box::new(call), deadline_ms);
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, sender);
        drop(cluster);
        self.shared.wake();
        Pending { answer }
    }

    /// Where a request goes that any broker takes, but of controllers only the active one.
    fn any(&self) -> Destination {
        match self.controllers {
            true => Destination::Controller,
            false => Destination::Any,
        }
    }

    /// How long brokers may take over a request, in milliseconds.
    fn broker_timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout_ms)
            .unwrap_or(i32::MAX)
            .min(30_000)
    }

    /// Asks a coordinator and judges its answer, which comes with the coordinator's id; asks again
    /// while it is not, or not yet, the right one.
    async fn ask_coordinator<M: Message, T>(
        &self,
        kind: CoordinatorKind,
        key: &KafkaString,
        call: impl Call + Clone + 'static,
        judge: impl Fn(i32, M) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.until_right(async || {
            let destination = Destination::Coordinator(kind, key.clone());
            let raw = self.start(destination, call.clone()).wait().await?;
            let judged = judge(raw.broker, raw.decode()?);
            let code = judged.as_ref().err().and_then(Error::code);
            if matches!(
                code,
                Some(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE)
            ) {
                self.shared.lock().forget_coordinator(kind, key);
            }
            judged
        })
        .await
    }

    /// Asks again while the broker is not, or not yet, the right one.
    async fn until_right<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let deadline_ms = self.shared.now_ms().saturating_add(self.timeout_ms);
        let mut failures = 0;
        loop {
            let outcome = attempt().await;
            let code = outcome.as_ref().err().and_then(Error::code);
            if !code.is_some_and(is_wrong_broker) || self.shared.now_ms() >= deadline_ms {
                return outcome;
            }
            failures += 1;
            let wait_ms = {
                let now_ms = self.shared.now_ms();
                let mut cluster = self.shared.lock();
                cluster.refresh_metadata(now_ms);
                let backoff = cluster.options().retry_backoff;
                backoff.after(failures, cluster.random())
            };
            self.shared.wake();
            tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))).await;
        }
    }

    /// Looks at the cluster's brokers, once they are known.
    async fn with_metadata<T>(&self, look: impl Fn(&Metadata) -> T) -> Result<T, Error> {
        let deadline_ms = self.shared.now_ms().saturating_add(self.timeout_ms);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now_ms = self.shared.now_ms();
            {
                let mut cluster = self.shared.lock();
                if cluster.metadata().version > 0 {
                    return Ok(look(cluster.metadata()));
                }
                if now_ms >= deadline_ms {
                    let reason = cluster.last_failure().map(str::to_owned);
                    return Err(Error::TimedOut { reason });
                }
                cluster.refresh_metadata(now_ms);
            }
            self.shared.wake();
            let wait = Duration::from_millis(u64::try_from(deadline_ms - now_ms).unwrap_or(0));
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    /// The ids of all live brokers.
    pub async fn broker_ids(&self) -> Result<Vec<i32>, Error> {
        self.with_metadata(|metadata| metadata.brokers.keys().copied().collect())
            .await
    }

    /// Every live broker.
    pub async fn brokers(&self) -> Result<Vec<crate::core::metadata::Broker>, Error> {
        self.with_metadata(|metadata| metadata.brokers.values().cloned().collect())
            .await
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.shared.close();
    }
}
