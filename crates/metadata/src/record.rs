//! The records of `__cluster_metadata`, and their framing.
//!
//! A record's value starts with an unsigned-varint frame version (1), type and version; the
//! message follows, and nothing after it. The finalized `metadata.version` decides at which
//! version a record is written; reading takes every version that 4.3 knows and refuses others.

use bytes::Bytes;
use ottla_protocol::messages::{
    AbortTransactionRecord, AccessControlEntryRecord, BeginTransactionRecord,
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord,
    DelegationTokenRecord, EndTransactionRecord, FeatureLevelRecord, FenceBrokerRecord, NoOpRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RegisterControllerRecord, RemoveAccessControlEntryRecord, RemoveDelegationTokenRecord,
    RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord, UnfenceBrokerRecord,
    UnregisterBrokerRecord, UserScramCredentialRecord, ZkMigrationStateRecord,
};
use ottla_protocol::{Message, Reader, Writer};

use crate::Error;
use crate::features::MetadataVersion;

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($(#[$doc:meta])* $variant:ident($message:ident) = $kind:literal,)+) => {
        /// A record of `__cluster_metadata`, by its type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $($(#[$doc])* $variant($message),)+
        }

        impl MetadataRecord {
            /// Kafka's name of the record.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $message::NAME,)+ }
            }

            /// The number of the record's type.
            #[must_use]
            pub fn record_type(&self) -> u32 {
                match self { $(Self::$variant(_) => $kind,)+ }
            }

            fn encode_message(&self, writer: &mut Writer, version: i16) -> Result<(), Error> {
                match self { $(Self::$variant(message) => message.encode(writer, version)?,)+ }
                Ok(())
            }

            fn encoded_message_size(&self, version: i16) -> Result<usize, Error> {
                Ok(match self {
                    $(Self::$variant(message) => message.encoded_size(version)?,)+
                })
            }

            fn decode_message(
                kind: u32,
                version: u32,
                reader: &mut Reader,
            ) -> Result<Self, Error> {
                match kind {
                    $($kind => {
                        let version = known_version::<$message>(version)?;
                        Ok(Self::$variant($message::decode(reader, version)?))
                    })+
                    unknown => Err(Error::UnknownRecordType(unknown)),
                }
            }
        }

        $(impl From<$message> for MetadataRecord {
            fn from(message: $message) -> Self {
                Self::$variant(message)
            }
        })+
    };
}

metadata_records! {
    /// A broker registered.
    RegisterBroker(RegisterBrokerRecord) = 0,
    /// A broker was removed.
    UnregisterBroker(UnregisterBrokerRecord) = 1,
    /// A topic was created.
    Topic(TopicRecord) = 2,
    /// A partition was created, or its whole state in a snapshot.
    Partition(PartitionRecord) = 3,
    /// A configuration key of a resource was set or removed.
    Config(ConfigRecord) = 4,
    /// What changed in a partition.
    PartitionChange(PartitionChangeRecord) = 5,
    /// A broker was fenced (written by old releases).
    FenceBroker(FenceBrokerRecord) = 7,
    /// A broker was unfenced (written by old releases).
    UnfenceBroker(UnfenceBrokerRecord) = 8,
    /// A topic was deleted.
    RemoveTopic(RemoveTopicRecord) = 9,
    /// A delegation token was created or renewed.
    DelegationToken(DelegationTokenRecord) = 10,
    /// A user's SCRAM credential was set.
    UserScramCredential(UserScramCredentialRecord) = 11,
    /// A feature's level was finalized.
    FeatureLevel(FeatureLevelRecord) = 12,
    /// A client quota was set or removed.
    ClientQuota(ClientQuotaRecord) = 14,
    /// A block of producer ids was handed out.
    ProducerIds(ProducerIdsRecord) = 15,
    /// What changed in a broker's registration.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17,
    /// An access control entry was added.
    AccessControlEntry(AccessControlEntryRecord) = 18,
    /// An access control entry was removed.
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord) = 19,
    /// Nothing; shows that the controller is alive.
    NoOp(NoOpRecord) = 20,
    /// The state of a migration from ZooKeeper, of which 4.x only reads that it is over.
    ZkMigrationState(ZkMigrationStateRecord) = 21,
    /// A user's SCRAM credential was removed.
    RemoveUserScramCredential(RemoveUserScramCredentialRecord) = 22,
    /// A metadata transaction begins.
    BeginTransaction(BeginTransactionRecord) = 23,
    /// A metadata transaction takes effect.
    EndTransaction(EndTransactionRecord) = 24,
    /// A metadata transaction is undone.
    AbortTransaction(AbortTransactionRecord) = 25,
    /// A delegation token was removed.
    RemoveDelegationToken(RemoveDelegationTokenRecord) = 26,
    /// A controller registered.
    RegisterController(RegisterControllerRecord) = 27,
    /// Eligible leader replicas of one or all topics were forgotten.
    ClearElr(ClearElrRecord) = 28,
}

impl MetadataRecord {
    /// The version that the record is written at in a cluster of this `metadata.version`.
    #[must_use]
    pub fn version(&self, metadata_version: MetadataVersion) -> i16 {
        match self {
            Self::RegisterBroker(_) => metadata_version.register_broker_record_version(),
            Self::BrokerRegistrationChange(record) => change_version(record),
            Self::Partition(_) | Self::PartitionChange(_) => {
                metadata_version.partition_record_version()
            }
            _ => 0,
        }
    }

    /// The record's value as it stands in the log of a cluster of this `metadata.version`.
    ///
    /// # Errors
    /// When a field is set that the version has no room for.
    pub fn encode(&self, metadata_version: MetadataVersion) -> Result<Bytes, Error> {
        self.encode_at(self.version(metadata_version))
    }

    /// The record's value at this version.
    ///
    /// # Errors
    /// When the record has no such version, or it has no room for a field that is set.
    pub fn encode_at(&self, version: i16) -> Result<Bytes, Error> {
        // Frame version, type and version take a byte each: all are below 128.
        let mut writer = Writer::with_capacity(3 + self.encoded_message_size(version)?);
        writer.write_unsigned_varint(FRAME_VERSION);
        writer.write_unsigned_varint(self.record_type());
        writer.write_unsigned_varint(version.unsigned_abs().into());
        self.encode_message(&mut writer, version)?;
        Ok(writer.into_bytes())
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// When the type or version isn't known, or the bytes are not a record. A reader must stop
    /// then: an image without the record would be wrong.
    pub fn decode(value: Bytes) -> Result<Self, Error> {
        Ok(Self::decode_with_version(value)?.0)
    }

    /// Reads a record's value, and tells the version that it was written at.
    ///
    /// # Errors
    /// As [`MetadataRecord::decode`].
    pub fn decode_with_version(value: Bytes) -> Result<(Self, i16), Error> {
        let mut reader = Reader::new(value);
        let frame = reader.read_unsigned_varint()?;
        if frame != FRAME_VERSION {
            return Err(Error::UnsupportedFrameVersion(frame));
        }
        let kind = reader.read_unsigned_varint()?;
        let version = reader.read_unsigned_varint()?;
        let record = Self::decode_message(kind, version, &mut reader)?;
        reader.expect_end()?;
        // `known_version` took it, so it fits.
        Ok((record, i16::try_from(version).unwrap_or(0)))
    }
}

/// The change of a registration is written at the lowest version that has room for it.
fn change_version(record: &BrokerRegistrationChangeRecord) -> i16 {
    if record.cordoned_log_dirs.is_some() {
        3
    } else if !record.log_dirs.is_empty() {
        2
    } else if record.in_controlled_shutdown != 0 {
        1
    } else {
        0
    }
}

fn known_version<M: Message>(version: u32) -> Result<i16, Error> {
    i16::try_from(version)
        .ok()
        .filter(|version| M::VALID_VERSIONS.contains(*version))
        .ok_or(Error::UnsupportedRecordVersion {
            name: M::NAME,
            version,
        })
}
