//! Registrations, heartbeats and fencing, and what they do to partitions.

use super::*;

/// What Apache Kafka 4.3.1 writes into an empty log, see `testdata/kafka-4.3.1`.
#[test]
fn an_empty_log_gets_the_bootstrap_records_in_a_transaction() {
    let cluster = Cluster::at(30);
    let names: Vec<&str> = cluster.log.iter().map(MetadataRecord::name).collect();
    let mut expected = vec!["BeginTransactionRecord"];
    expected.extend(["FeatureLevelRecord"; 6]);
    expected.extend(["ConfigRecord", "EndTransactionRecord"]);
    assert_eq!(names, expected);
    assert!(!cluster.controller.in_transaction());

    let old: Vec<MetadataRecord> = Cluster::at(7).log;
    assert_eq!(
        old.len(),
        1,
        "no transactions, and nothing else to finalize: {old:?}"
    );
    let again = BootstrapMetadata::for_version(MetadataVersion::LATEST_PRODUCTION);
    assert!(
        cluster
            .controller
            .decide_activation(&again)
            .records
            .is_empty()
    );
}

#[test]
fn an_unfinished_transaction_is_aborted_at_failover() {
    let mut cluster = Cluster::at(30);
    let begin = BeginTransactionRecord::default().into();
    let topic = TopicRecord {
        name: "t".into(),
        topic_id: Uuid([9; 16]),
        ..Default::default()
    };
    cluster.append(Decision::new(vec![begin, topic.into()], ()));
    let bootstrap = BootstrapMetadata::for_version(MetadataVersion::LATEST_PRODUCTION);
    let decision = cluster.controller.decide_activation(&bootstrap);
    assert!(matches!(
        decision.records[..],
        [MetadataRecord::AbortTransaction(_)]
    ));
    cluster.append(decision);
    assert!(cluster.controller.image().topics().is_empty());
}

/// The process died between the batches of its first transaction.
#[test]
fn unfinished_bootstrap_records_are_written_again() {
    let whole = Cluster::at(30).log;
    let mut loader = crate::image::ImageLoader::default();
    for record in &whole[..whole.len() - 1] {
        loader.replay(record).unwrap();
    }
    let end = Offset(i64::try_from(whole.len()).unwrap() - 2);
    let mut cluster = Cluster::at(30);
    cluster.controller = Controller::resume(Cluster::options(), &loader, end);
    cluster.log.pop();
    let bootstrap = BootstrapMetadata::for_version(MetadataVersion::LATEST_PRODUCTION);
    let decision = cluster.controller.decide_activation(&bootstrap);
    assert!(matches!(
        decision.records[0],
        MetadataRecord::AbortTransaction(_)
    ));
    assert_eq!(decision.records[1..], whole);
    cluster.append(decision);
    assert_eq!(
        cluster.controller.image(),
        Cluster::at(30).controller.image()
    );
}

#[test]
fn a_broker_is_unfenced_when_it_has_replayed_its_registration() {
    let mut cluster = Cluster::at(30);
    let epoch = cluster.next_offset().0;
    let response = cluster.register(&Cluster::registration(1, 1));
    assert_eq!(
        response.broker_epoch, epoch,
        "the offset of the registration"
    );
    let behind = BrokerHeartbeatRequest {
        current_metadata_offset: epoch - 1,
        ..cluster.alive(1)
    };
    let response = cluster.heartbeat(&behind);
    assert!(response.is_fenced && !response.is_caught_up);
    let heartbeat = cluster.alive(1);
    let response = cluster.heartbeat(&heartbeat);
    assert!(!response.is_fenced && response.is_caught_up);
    let stale = BrokerHeartbeatRequest {
        broker_epoch: epoch + 1,
        ..cluster.alive(1)
    };
    assert_eq!(
        cluster.heartbeat(&stale).error_code,
        ErrorCode::STALE_BROKER_EPOCH.0
    );
}

#[test]
fn registrations_that_cannot_be_are_refused() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    let good = Cluster::registration(3, 9);
    let mut refused = |request: BrokerRegistrationRequest| {
        let response = cluster.register(&request);
        ErrorCode(response.error_code)
    };
    let other_cluster = BrokerRegistrationRequest {
        cluster_id: "x".into(),
        ..good.clone()
    };
    assert_eq!(refused(other_cluster), ErrorCode::INCONSISTENT_CLUSTER_ID);
    let same_id = BrokerRegistrationRequest {
        broker_id: 1,
        ..good.clone()
    };
    assert_eq!(refused(same_id), ErrorCode::DUPLICATE_BROKER_REGISTRATION);
    let taken = BrokerRegistrationRequest {
        log_dirs: vec![directory(2)],
        ..good.clone()
    };
    assert_eq!(refused(taken), ErrorCode::INVALID_REGISTRATION);
    let none = BrokerRegistrationRequest {
        log_dirs: Vec::new(),
        ..good.clone()
    };
    assert_eq!(refused(none), ErrorCode::INVALID_REGISTRATION);
    let reserved = BrokerRegistrationRequest {
        log_dirs: vec![Uuid::ONE],
        ..good.clone()
    };
    assert_eq!(refused(reserved), ErrorCode::INVALID_REGISTRATION);
    let featureless = BrokerRegistrationRequest {
        features: Vec::new(),
        ..good.clone()
    };
    assert_eq!(refused(featureless), ErrorCode::INVALID_REGISTRATION);
    let mut old = good.clone();
    old.features
        .retain(|feature| feature.name != "transaction.version");
    assert_eq!(refused(old), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(refused(good), ErrorCode::NONE);
}

/// The same process may register again, with other particulars, under the same epoch.
#[test]
fn a_registration_can_be_amended() {
    let mut cluster = Cluster::at(30);
    let mut request = Cluster::registration(1, 1);
    let epoch = cluster.register(&request).broker_epoch;
    let heartbeat = cluster.alive(1);
    cluster.heartbeat(&heartbeat);
    request.rack = Some("a".into());
    assert_eq!(cluster.register(&request).broker_epoch, epoch);
    let broker = cluster
        .controller
        .image()
        .cluster()
        .broker(BrokerId(1))
        .unwrap()
        .clone();
    assert_eq!((broker.fenced, broker.rack.as_deref()), (false, Some("a")));
}

/// KIP-966: a single node that was killed lost nothing that it acknowledged durably, but it
/// can't know that: out of ISR and ELR, and back as the last known leader.
#[test]
fn a_killed_single_node_gets_its_leaders_back() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create_assigned("t", &[1], "1");
    let before = cluster.partition("t");
    // Not a word of the previous life: it ended uncleanly.
    let context = RegistrationContext {
        next_offset: cluster.next_offset(),
        request_version: 4,
        same_process: true,
    };
    let request = Cluster::registration(1, 200);
    let decision = cluster
        .controller
        .decide_broker_registration(cluster.now_ms, &request, context);
    cluster.append(decision);
    let down = cluster.partition("t");
    assert_eq!(down.leader, None);
    assert!(down.isr.is_empty() && down.eligible_leader_replicas.is_empty());
    assert_eq!(down.last_known_eligible_leader_replicas, ids(&[1]));
    let heartbeat = cluster.alive(1);
    cluster.heartbeat(&heartbeat);
    let up = cluster.partition("t");
    assert_eq!(
        (up.leader, up.isr.as_slice()),
        (Some(BrokerId(1)), &ids(&[1])[..])
    );
    assert_eq!(up.leader_recovery_state, LeaderRecoveryState::Recovering);
    assert!(up.last_known_eligible_leader_replicas.is_empty());
    assert!(up.leader_epoch > before.leader_epoch);
}

/// The records are those of the real log in `testdata/kafka-4.3.1`, from offset 276 on.
#[test]
fn a_controlled_shutdown_of_a_single_node_keeps_it_eligible() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create_assigned("t", &[1], "1");
    let start = cluster.log.len();
    let leave = BrokerHeartbeatRequest {
        want_shut_down: true,
        ..cluster.alive(1)
    };
    let response = cluster.heartbeat(&leave);
    assert!(!response.should_shut_down, "first the leaders move");
    let leave = BrokerHeartbeatRequest {
        want_shut_down: true,
        ..cluster.alive(1)
    };
    assert!(cluster.heartbeat(&leave).should_shut_down);
    let [shutdown, change, fence] = &cluster.log[start..] else {
        panic!("{:?}", cluster.log)
    };
    let MetadataRecord::BrokerRegistrationChange(shutdown) = shutdown else {
        panic!()
    };
    assert_eq!((shutdown.in_controlled_shutdown, shutdown.fenced), (1, 0));
    let MetadataRecord::PartitionChange(change) = change else {
        panic!()
    };
    assert_eq!(change.leader, -1);
    assert_eq!(change.isr.as_deref(), Some(&[][..]));
    assert_eq!(change.eligible_leader_replicas.as_deref(), Some(&[1][..]));
    assert_eq!(change.last_known_elr.as_deref(), Some(&[1][..]));
    let MetadataRecord::BrokerRegistrationChange(fence) = fence else {
        panic!()
    };
    assert_eq!((fence.in_controlled_shutdown, fence.fenced), (0, 1));

    // A clean end is told by the previous epoch: eligible, and so elected cleanly.
    let epoch = cluster.epoch_of(1);
    cluster.start_broker(1, epoch);
    let partition = cluster.partition("t");
    assert_eq!(partition.leader, Some(BrokerId(1)));
    assert_eq!(
        partition.leader_recovery_state,
        LeaderRecoveryState::Recovered
    );
}

/// KIP-966, the example of three replicas with `min.insync.replicas` 2.
#[test]
fn who_leaves_the_isr_below_the_minimum_stays_eligible() {
    let mut cluster = Cluster::with_brokers(&[1, 2, 3]);
    cluster.create_assigned("t", &[1, 2, 3], "2");
    cluster.let_sessions_end_but(&[1, 2]);
    let partition = cluster.partition("t");
    assert_eq!(partition.isr, ids(&[1, 2]));
    assert!(
        partition.eligible_leader_replicas.is_empty(),
        "two are enough"
    );
    cluster.let_sessions_end_but(&[1]);
    assert_eq!(cluster.partition("t").eligible_leader_replicas, ids(&[2]));
    cluster.let_sessions_end_but(&[]);
    let partition = cluster.partition("t");
    assert_eq!(partition.leader, None);
    assert!(partition.isr.is_empty());
    assert_eq!(partition.eligible_leader_replicas, ids(&[1, 2]));
    assert_eq!(partition.last_known_eligible_leader_replicas, ids(&[1]));

    // 3 isn't eligible; 2 comes back after an unclean end, and isn't any more.
    let epoch = cluster.epoch_of(3);
    cluster.start_broker(3, epoch);
    assert_eq!(cluster.partition("t").leader, None);
    cluster.start_broker(2, -1);
    let partition = cluster.partition("t");
    assert_eq!(partition.leader, None);
    assert_eq!(partition.eligible_leader_replicas, ids(&[1]));
    let epoch = cluster.epoch_of(1);
    cluster.start_broker(1, epoch);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(BrokerId(1)), &ids(&[1])[..])
    );
    assert_eq!(
        partition.leader_recovery_state,
        LeaderRecoveryState::Recovered
    );
}

#[test]
fn without_eligible_leader_replicas_the_last_in_sync_stays_in_sync() {
    let mut cluster = Cluster::at(20);
    cluster.start_broker(1, -1);
    cluster.create_assigned("t", &[1], "1");
    cluster.let_sessions_end_but(&[]);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (None, &ids(&[1])[..])
    );
    assert!(partition.last_known_eligible_leader_replicas.is_empty());
    cluster.start_broker(1, -1);
    assert_eq!(cluster.partition("t").leader, Some(BrokerId(1)));
}

#[test]
fn a_session_ends_with_silence() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    let deadline = cluster.controller.next_session_deadline().unwrap();
    assert_eq!(deadline, cluster.now_ms + 9_000);
    assert!(
        !cluster
            .controller
            .decide_fence_stale_broker(deadline - 1)
            .response
    );
    cluster.let_sessions_end_but(&[2]);
    let image = cluster.controller.image();
    assert!(!image.cluster().is_active(BrokerId(1)));
    assert!(image.cluster().is_active(BrokerId(2)));
}

#[test]
fn a_broker_of_which_is_known_that_it_ended_is_fenced_in_that_life_only() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create_assigned("t", &[1, 2], "1");
    let life = |cluster: &Cluster| {
        let brokers = cluster.controller.image().cluster();
        brokers.broker(BrokerId(1)).unwrap().incarnation_id
    };
    let earlier = Uuid([77; 16]);
    let decision = cluster.controller.handle_ended_broker(BrokerId(1), earlier);
    assert_eq!(decision, Decision::new(Vec::new(), false));
    let decision = cluster
        .controller
        .handle_ended_broker(BrokerId(1), life(&cluster));
    assert!(decision.response);
    cluster.append(decision);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(BrokerId(2)), &ids(&[2])[..])
    );
    let again = cluster
        .controller
        .handle_ended_broker(BrokerId(1), life(&cluster));
    assert!(!again.response);
    let registered = cluster.controller.image().cluster().brokers().len();
    assert_eq!(registered, 2);
    // Should it live after all, its next heartbeat lets it in again.
    let alive = cluster.alive(1);
    cluster.heartbeat(&alive);
    assert!(cluster.controller.image().cluster().is_active(BrokerId(1)));
}

#[test]
fn an_offline_directory_takes_its_replicas_out() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create_assigned("t", &[1, 2], "1");
    let failed = BrokerHeartbeatRequest {
        offline_log_dirs: vec![directory(1)],
        ..cluster.alive(1)
    };
    cluster.heartbeat(&failed);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(BrokerId(2)), &ids(&[2])[..])
    );
}

#[test]
fn an_unregistered_broker_is_gone() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create_assigned("t", &[1, 2], "1");
    let unregister = |id| UnregisterBrokerRequest {
        broker_id: id,
        ..Default::default()
    };
    let decision = cluster.controller.decide_unregister_broker(&unregister(9));
    assert_eq!(
        decision.response.error_code,
        ErrorCode::BROKER_ID_NOT_REGISTERED.0
    );
    let decision = cluster.controller.decide_unregister_broker(&unregister(1));
    cluster.append(decision);
    assert_eq!(cluster.partition("t").leader, Some(BrokerId(2)));
    assert!(
        cluster
            .controller
            .image()
            .cluster()
            .broker(BrokerId(1))
            .is_none()
    );
}

#[test]
fn blocks_of_producer_ids_never_overlap() {
    let mut cluster = Cluster::with_brokers(&[1]);
    let request = AllocateProducerIdsRequest {
        broker_id: 1,
        broker_epoch: cluster.epoch_of(1),
        ..Default::default()
    };
    for expected in [0, 1000, 2000] {
        let decision = cluster.controller.decide_allocate_producer_ids(&request);
        let response = cluster.append(decision);
        assert_eq!(
            (response.producer_id_start, response.producer_id_len),
            (expected, 1000)
        );
    }
    let stale = AllocateProducerIdsRequest {
        broker_epoch: 0,
        ..request
    };
    let decision = cluster.controller.decide_allocate_producer_ids(&stale);
    assert_eq!(
        decision.response.error_code,
        ErrorCode::STALE_BROKER_EPOCH.0
    );
}
