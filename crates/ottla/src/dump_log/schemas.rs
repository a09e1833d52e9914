//! The schemas of records that are shown as JSON, by the log that they stand in.

macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        &[$(include_str!(concat!("../../../protocol/schema/", $name))),*]
    };
}

/// Of the metadata log.
pub(super) const METADATA: &[&str] = schemas![
    "abort_transaction_record",
    "access_control_entry_record",
    "begin_transaction_record",
    "broker_registration_change_record",
    "clear_elr_record",
    "client_quota_record",
    "config_record",
    "delegation_token_record",
    "end_transaction_record",
    "feature_level_record",
    "fence_broker_record",
    "no_op_record",
    "partition_change_record",
    "partition_record",
    "producer_ids_record",
    "register_broker_record",
    "register_controller_record",
    "remove_access_control_entry_record",
    "remove_delegation_token_record",
    "remove_topic_record",
    "remove_user_scram_credential_record",
    "topic_record",
    "unfence_broker_record",
    "unregister_broker_record",
    "user_scram_credential_record",
    "zk_migration_state_record",
];

/// Of `__consumer_offsets`.
pub(super) const GROUP: &[&str] = schemas![
    "consumer_group_current_member_assignment_key",
    "consumer_group_current_member_assignment_value",
    "consumer_group_member_metadata_key",
    "consumer_group_member_metadata_value",
    "consumer_group_metadata_key",
    "consumer_group_metadata_value",
    "consumer_group_partition_metadata_key",
    "consumer_group_partition_metadata_value",
    "consumer_group_regular_expression_key",
    "consumer_group_regular_expression_value",
    "consumer_group_target_assignment_member_key",
    "consumer_group_target_assignment_member_value",
    "consumer_group_target_assignment_metadata_key",
    "consumer_group_target_assignment_metadata_value",
    "group_metadata_key",
    "group_metadata_value",
    "legacy_offset_commit_key",
    "legacy_offset_commit_value",
    "offset_commit_key",
    "offset_commit_value",
    "share_group_current_member_assignment_key",
    "share_group_current_member_assignment_value",
    "share_group_member_metadata_key",
    "share_group_member_metadata_value",
    "share_group_metadata_key",
    "share_group_metadata_value",
    "share_group_state_partition_metadata_key",
    "share_group_state_partition_metadata_value",
    "share_group_target_assignment_member_key",
    "share_group_target_assignment_member_value",
    "share_group_target_assignment_metadata_key",
    "share_group_target_assignment_metadata_value",
    "streams_group_current_member_assignment_key",
    "streams_group_current_member_assignment_value",
    "streams_group_member_metadata_key",
    "streams_group_member_metadata_value",
    "streams_group_metadata_key",
    "streams_group_metadata_value",
    "streams_group_target_assignment_member_key",
    "streams_group_target_assignment_member_value",
    "streams_group_target_assignment_metadata_key",
    "streams_group_target_assignment_metadata_value",
    "streams_group_topology_key",
    "streams_group_topology_value",
];

/// Of `__transaction_state`.
pub(super) const TRANSACTION: &[&str] = schemas!["transaction_log_key", "transaction_log_value",];

/// Of `__share_group_state`.
pub(super) const SHARE_STATE: &[&str] = schemas![
    "share_snapshot_key",
    "share_snapshot_value",
    "share_update_key",
    "share_update_value",
];

/// Of control records.
pub(super) const CONTROL: &[&str] = schemas![
    "leader_change_message",
    "snapshot_header_record",
    "snapshot_footer_record",
    "kraft_version_record",
    "voters_record",
];

/// What members of groups tell when they join.
pub(super) const SUBSCRIPTION: &str =
    include_str!("../../../protocol/schema/consumer_protocol_subscription");

/// What members of groups are given.
pub(super) const ASSIGNMENT: &str =
    include_str!("../../../protocol/schema/consumer_protocol_assignment");
