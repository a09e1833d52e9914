//! A request about the state of share partitions, each answered by its own coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::Now;
use ottla_coordinator::share_state::{Decision, Refusal, SharePartition, ShareStateCoordinator};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::error_message::error_message;
use super::gather::Gather;
use crate::coordinator::partition_of_share_state;
use crate::node::Node;

/// What a request says of share partitions, by topic.
pub(super) type Asked<P> = Vec<(Uuid, Vec<(i32, P)>)>;
/// What becomes of one of them, or why nothing, in words.
pub(super) type Answer<R> = Result<R, (ErrorCode, String)>;
/// What becomes of each of them, by topic.
pub(super) type Answered<R> = Vec<(Uuid, BTreeMap<i32, Answer<R>>)>;

/// Decides about each share partition in its coordinator; `done` gets all answers, each partition's last one where it is named twice.
pub(super) fn decide_each<P, R: Send + 'static>(
    node: &Arc<Node>,
    (group_id, asked): (KafkaString, Asked<P>),
    failure: &'static str,
    decide: impl Fn(&ShareStateCoordinator, Now, &SharePartition, &P) -> Decision<Result<R, Refusal>>,
    done: impl FnOnce(Answered<R>) + Send + 'static,
) {
    let count = asked.iter().map(|(_, partitions)| partitions.len()).sum();
    let gather = Gather::new(count, |answers| done(by_topic(answers)));
    let flat = asked.into_iter().flat_map(|(topic_id, partitions)| {
        let of_topic = partitions.into_iter();
        of_topic.map(move |(index, said)| (topic_id, index, said))
    });
    for (place, (topic_id, index, said)) in flat.enumerate() {
        let gather = Arc::clone(&gather);
        let partition = SharePartition {
            group_id: group_id.clone(),
            topic_id,
            partition: index,
        };
        node.share_states().decide(
            node,
            partition_of_share_state(node, &partition),
            |coordinator: &mut ShareStateCoordinator, now| {
                decide(coordinator, now, &partition, &said)
            },
            move |result| {
                let answer = match result {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(refusal)) => Err(in_words(refusal)),
                    Err(error) => Err((error, format!("{failure}: {}", error_message(error)))),
                };
                gather.put(place, (topic_id, index, answer));
            },
        );
    }
}

fn in_words(refusal: Refusal) -> (ErrorCode, String) {
    let message = match refusal.message {
        Some(message) => message.to_owned(),
        None => error_message(refusal.error),
    };
    (refusal.error, message)
}

fn by_topic<R>(answers: Vec<(Uuid, i32, Answer<R>)>) -> Answered<R> {
    let mut topics: Answered<R> = Vec::new();
    for (topic_id, index, answer) in answers {
        let place = topics.iter().position(|(known, _)| *known == topic_id);
        let place = place.unwrap_or_else(|| {
            topics.push((topic_id, BTreeMap::new()));
            topics.len() - 1
        });
        if let Some((_, partitions)) = topics.get_mut(place) {
            partitions.insert(index, answer);
        }
    }
    topics
}

/// The results of a response: `partition` makes one of a partition's index, its error code and message, and what became
/// of it; `topic` puts those of a topic together.
pub(super) fn results<R, P, T>(
    answered: Answered<R>,
    partition: impl Fn((i32, i16, Option<KafkaString>), Option<R>) -> P,
    topic: impl Fn(Uuid, Vec<P>) -> T,
) -> Vec<T> {
    let of_topic = |(topic_id, partitions): (Uuid, BTreeMap<i32, Answer<R>>)| {
        let partitions = partitions.into_iter().map(|(index, answer)| {
            let (error_code, error_message) = error_of(&answer);
            partition((index, error_code, error_message), answer.ok())
        });
        topic(topic_id, partitions.collect())
    };
    answered.into_iter().map(of_topic).collect()
}

/// Error code and message of an answer.
fn error_of<R>(answer: &Answer<R>) -> (i16, Option<KafkaString>) {
    match answer {
        Ok(_) => (0, None),
        Err((error, message)) => (error.0, Some(KafkaString::from(message.clone()))),
    }
}
