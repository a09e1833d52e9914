//! Blocks of producer ids (KIP-730).

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerIdsRecord,
};

use super::{ApiError, Controller, Decision};

/// How many producer ids a broker gets at a time.
const BLOCK_LENGTH: i32 = 1000;

impl Controller {
    /// Hands out the next block of producer ids to a broker.
    #[must_use]
    pub fn decide_allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Decision<AllocateProducerIdsResponse> {
        let refuse = |error: &ApiError| {
            Decision::only(AllocateProducerIdsResponse {
                error_code: error.number(),
                ..AllocateProducerIdsResponse::default()
            })
        };
        if let Err(error) = self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            return refuse(&error);
        }
        let first = self.image.next_producer_id().unwrap_or(0);
        let Some(next) = first.checked_add(BLOCK_LENGTH.into()) else {
            return refuse(&ApiError::of(ErrorCode::UNKNOWN_SERVER_ERROR));
        };
        let record = ProducerIdsRecord {
            broker_id: request.broker_id,
            broker_epoch: request.broker_epoch,
            next_producer_id: next,
            ..ProducerIdsRecord::default()
        };
        let response = AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: BLOCK_LENGTH,
            ..AllocateProducerIdsResponse::default()
        };
        Decision::new(vec![record.into()], response)
    }
}
