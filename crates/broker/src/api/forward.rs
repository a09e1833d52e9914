//! Requests that the controller decides: in one process they go to it directly.

use std::sync::Arc;

use ottla_metadata::controller::Decision;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::Response;

use crate::controller::Active;
use crate::environment::JobKind;
use crate::node::Node;
use crate::request::RequestContext;

/// Answers with the controller's decision, once it is committed and this broker has applied it.
///
/// Whoever hears that a topic was made asks this broker for it at once: the answer takes its turn behind the
/// metadata that the decision changed, so that it is found.
pub(super) fn to_controller<R: Response + Send + 'static>(
    node: &Arc<Node>,
    context: RequestContext,
    decide: impl FnOnce(&mut Active<'_>) -> Decision<R> + Send + 'static,
) {
    let then = answer(node, context);
    node.controller().decide(node, decide, then);
}

/// What gives the controller's response to the client, once the metadata behind it is applied.
pub(super) fn answer<R: Response + Send + 'static>(
    node: &Arc<Node>,
    context: RequestContext,
) -> impl FnOnce(Result<R, ErrorCode>) + Send + 'static {
    let this = Arc::clone(node);
    move |response| match response {
        Ok(response) => {
            this.submit(JobKind::Metadata, move |_| context.respond(&response));
        }
        Err(error) => {
            tracing::info!(%error, api = %context.api_key, "the controller did not answer");
            context.close();
        }
    }
}
