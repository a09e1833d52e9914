//! Deleting topics, by name or id.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ids::TopicId;
use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, RemoveTopicRecord};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::{ApiError, Controller, Decision};

/// What a request names to be deleted.
type Target = (Option<KafkaString>, Uuid);

impl Controller {
    /// Deletes topics: all that exist, in one decision.
    #[must_use]
    pub fn decide_delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        request_version: i16,
    ) -> Decision<DeleteTopicsResponse> {
        let by_name = request
            .topic_names
            .iter()
            .map(|name| (Some(name.clone()), Uuid::ZERO));
        let by_state = request
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.topic_id));
        let targets: Vec<Target> = by_name.chain(by_state).collect();
        let mut response = DeleteTopicsResponse::default();
        if !self.options.delete_topic_enable {
            let error = if request_version < 3 {
                ApiError::invalid_request("This version does not support topic deletion.")
            } else {
                ApiError::of(ErrorCode::TOPIC_DELETION_DISABLED)
            };
            response.responses = targets
                .iter()
                .map(|target| refused(target, &error))
                .collect();
            return Decision::only(response);
        }
        let mut records = Vec::new();
        let mut named: BTreeMap<Target, usize> = BTreeMap::new();
        for target in &targets {
            *named.entry(target.clone()).or_default() += 1;
        }
        let withdrawn = self.named_both_ways(&targets);
        for target in &targets {
            match named.remove(target) {
                None => continue,
                Some(1) => {}
                Some(_) => {
                    let by = if target.0.is_some() { "name" } else { "id" };
                    let message = format!("Duplicate topic {by}.");
                    let error = ApiError::invalid_request(message);
                    response.responses.push(refused(target, &error));
                    continue;
                }
            }
            let result = match self.topic_to_delete(target) {
                Ok((name, id)) if withdrawn.contains(&id) => {
                    if target.0.is_none() {
                        continue;
                    }
                    let message =
                        "The provided topic name maps to an ID that was already supplied.";
                    refused(&(Some(name), id.0), &ApiError::invalid_request(message))
                }
                Ok((name, id)) => {
                    let record = RemoveTopicRecord {
                        topic_id: id.0,
                        ..RemoveTopicRecord::default()
                    };
                    records.push(record.into());
                    DeletableTopicResult {
                        name: Some(name),
                        topic_id: id.0,
                        ..DeletableTopicResult::default()
                    }
                }
                Err(error) => refused(target, &error),
            };
            response.responses.push(result);
        }
        Decision::new(records, response)
    }

    /// Topics that are asked for by name and by id: none of the two is done.
    fn named_both_ways(&self, targets: &[Target]) -> BTreeSet<TopicId> {
        let by_id: BTreeSet<TopicId> = targets
            .iter()
            .filter(|(name, _)| name.is_none())
            .map(|(_, id)| TopicId(*id))
            .collect();
        targets
            .iter()
            .filter(|(_, id)| id.is_zero())
            .filter_map(|(name, _)| self.image.topics().get_by_name(name.as_ref()?))
            .map(|topic| topic.id())
            .filter(|id| by_id.contains(id))
            .collect()
    }

    fn topic_to_delete(&self, target: &Target) -> Result<(KafkaString, TopicId), ApiError> {
        let topics = self.image.topics();
        let found = match target {
            (Some(_), id) if !id.is_zero() => {
                let message = "You may not specify both topic name and topic id.";
                return Err(ApiError::invalid_request(message));
            }
            (Some(name), _) => {
                let topic = topics.get_by_name(name);
                topic.ok_or_else(ApiError::unknown_topic_or_partition)?
            }
            (None, id) if id.is_zero() => {
                let message = "Neither topic name nor id were specified.";
                return Err(ApiError::invalid_request(message));
            }
            (None, id) => topics
                .get(TopicId(*id))
                .ok_or_else(|| ApiError::of(ErrorCode::UNKNOWN_TOPIC_ID))?,
        };
        Ok((found.name().clone(), found.id()))
    }
}

fn refused((name, id): &Target, error: &ApiError) -> DeletableTopicResult {
    DeletableTopicResult {
        name: name.clone(),
        topic_id: *id,
        error_code: error.number(),
        error_message: error.text(),
        ..DeletableTopicResult::default()
    }
}
