//! Random events in a cluster of three: the invariants hold at all times, and the image is the
//! fold over the log (`Cluster::append` checks the former after every decision).

use proptest::prelude::*;

use super::*;
use crate::image::MetadataImage;

#[derive(Clone, Copy, Debug)]
enum Event {
    Create { partitions: i32, factor: i16 },
    Delete { topic: usize },
    Crash { broker: i32 },
    Leave { broker: i32 },
    Start { broker: i32 },
    Return { broker: i32 },
    Minimum { topic: usize, value: u8 },
    Balance,
    Elect,
}

fn event() -> impl Strategy<Value = Event> {
    let broker = 1..=3;
    prop_oneof![
        (1..4, 1..=3i16).prop_map(|(partitions, factor)| Event::Create { partitions, factor }),
        (0..8usize).prop_map(|topic| Event::Delete { topic }),
        broker.clone().prop_map(|broker| Event::Crash { broker }),
        broker.clone().prop_map(|broker| Event::Leave { broker }),
        broker.clone().prop_map(|broker| Event::Start { broker }),
        broker.prop_map(|broker| Event::Return { broker }),
        (0..8usize, 1..=3u8).prop_map(|(topic, value)| Event::Minimum { topic, value }),
        Just(Event::Balance),
        Just(Event::Elect),
    ]
}

impl Cluster {
    fn is_up(&self, broker: i32) -> bool {
        self.controller
            .image()
            .cluster()
            .is_active(BrokerId(broker))
    }

    fn topic_name(&self, position: usize) -> Option<KafkaString> {
        let mut topics = self.controller.image().topics().in_name_order();
        topics.nth(position).map(|topic| topic.name().clone())
    }

    fn happen(&mut self, event: Event, step: usize) {
        match event {
            Event::Create { partitions, factor } => {
                let topic = CreatableTopic {
                    name: format!("topic-{step}").into(),
                    num_partitions: partitions,
                    replication_factor: factor,
                    ..Default::default()
                };
                self.create(topic);
            }
            Event::Delete { topic } => {
                let Some(name) = self.topic_name(topic) else {
                    return;
                };
                let request = DeleteTopicsRequest {
                    topic_names: vec![name],
                    ..Default::default()
                };
                let decision = self.controller.decide_delete_topics(&request, 5);
                self.append(decision);
            }
            Event::Crash { broker } => {
                let others: Vec<i32> = (1..=3)
                    .filter(|id| *id != broker && self.is_up(*id))
                    .collect();
                self.let_sessions_end_but(&others);
            }
            Event::Leave { broker } if self.is_up(broker) => {
                for _ in 0..2 {
                    let leave = BrokerHeartbeatRequest {
                        want_shut_down: true,
                        ..self.alive(broker)
                    };
                    self.heartbeat(&leave);
                }
            }
            Event::Start { broker } if !self.is_up(broker) => self.start_broker(broker, -1),
            Event::Return { broker } if !self.is_up(broker) => {
                let epoch = self.epoch_of(broker);
                self.start_broker(broker, epoch);
            }
            Event::Leave { .. } | Event::Start { .. } | Event::Return { .. } => {}
            Event::Minimum { topic, value } => {
                let Some(name) = self.topic_name(topic) else {
                    return;
                };
                self.configure_minimum(&name, value);
            }
            Event::Balance => {
                let decision = self.controller.decide_balance_leaders();
                self.append(decision);
            }
            Event::Elect => {
                let decision = self.controller.decide_unclean_elections();
                self.append(decision);
            }
        }
    }

    fn configure_minimum(&mut self, topic: &KafkaString, value: u8) {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config = AlterableConfig {
            name: "min.insync.replicas".into(),
            value: Some(value.to_string().into()),
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: topic.clone(),
                configs: vec![config],
                ..Default::default()
            }],
            ..Default::default()
        };
        let context = AlterConfigsContext::default();
        let decision = self
            .controller
            .decide_incremental_alter_configs(&request, context);
        self.append(decision);
    }
}

proptest! {
    #[test]
    fn the_invariants_hold_and_the_image_is_the_fold(
        level in prop_oneof![Just(11i16), Just(20), Just(30)],
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut cluster = Cluster::at(level);
        for id in 1..=3 {
            cluster.start_broker(id, -1);
        }
        for (step, event) in events.into_iter().enumerate() {
            // A broker that was shut down or crashed may come back at any later time.
            cluster.now_ms += 20_000;
            for id in 1..=3 {
                if cluster.is_up(id) {
                    let heartbeat = cluster.alive(id);
                    cluster.heartbeat(&heartbeat);
                }
            }
            cluster.happen(event, step);
        }
        let mut fold = MetadataImage::default();
        for record in &cluster.log {
            fold.replay(record).unwrap();
        }
        prop_assert_eq!(&fold, cluster.controller.image());
        let mut restored = MetadataImage::default();
        for record in fold.write_snapshot() {
            restored.replay(&record).unwrap();
        }
        prop_assert_eq!(restored, fold);
    }
}
