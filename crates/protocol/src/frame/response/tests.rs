use bytes::BytesMut;

use super::*;
use crate::frame::encode_response;
use crate::messages::ShareFetchResponse;
use crate::messages::random::{Random, RandomStructure};

fn joined(frame: ResponseFrame<Bytes>) -> Bytes {
    let length = frame.length();
    let mut bytes = BytesMut::new();
    for piece in frame.into_pieces() {
        match piece {
            Piece::Bytes(piece) | Piece::Region(piece) => {
                assert!(!piece.is_empty());
                bytes.extend_from_slice(&piece);
            }
        }
    }
    assert_eq!(length, bytes.region_length_for_test());
    bytes.freeze()
}

trait LengthForTest {
    fn region_length_for_test(&self) -> u64;
}

impl LengthForTest for BytesMut {
    fn region_length_for_test(&self) -> u64 {
        u64::try_from(self.len()).unwrap()
    }
}

/// Takes the records out of the message, in up to three regions for each partition.
fn split(response: &mut FetchResponse) -> Vec<Vec<Bytes>> {
    let mut regions = Vec::new();
    for partition in response
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        let records = partition.records.take().unwrap_or_default();
        let (third, two_thirds) = (records.len() / 3, records.len() * 2 / 3);
        let parts = [
            records.slice(..third),
            records.slice(third..two_thirds),
            records.slice(two_thirds..),
        ];
        regions.push(parts.into_iter().filter(|part| !part.is_empty()).collect());
    }
    regions
}

#[test]
fn a_fetch_response_in_pieces_is_the_message() {
    let mut random = Random::new(7);
    let mut with_records = 0;
    for version in FetchResponse::VALID_VERSIONS.iter() {
        for correlation_id in 0..200 {
            let mut response = FetchResponse::random(&mut random, version);
            for partition in response
                .responses
                .iter_mut()
                .flat_map(|topic| &mut topic.partitions)
            {
                partition.records.get_or_insert_default();
            }
            let whole = encode_response(&response, version, correlation_id).unwrap();
            let inline =
                encode_fetch_response::<Bytes>(&response, Vec::new(), version, correlation_id);
            assert_eq!(joined(inline.unwrap()), whole, "version {version}");
            let regions = split(&mut response);
            with_records += regions.iter().filter(|regions| regions.len() > 1).count();
            let pieces = encode_fetch_response(&response, regions, version, correlation_id);
            assert_eq!(joined(pieces.unwrap()), whole, "version {version}");
        }
    }
    assert!(with_records > 100);
}

#[test]
fn null_records_are_written_as_none() {
    let mut response = FetchResponse::default();
    response.responses.push(FetchableTopicResponse::default());
    response.responses[0]
        .partitions
        .push(PartitionData::default());
    assert_eq!(response.responses[0].partitions[0].records, None);
    let frame = encode_fetch_response::<Bytes>(&response, Vec::new(), 11, 1).unwrap();
    response.responses[0].partitions[0].records = Some(Bytes::new());
    assert_eq!(joined(frame), encode_response(&response, 11, 1).unwrap());
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for version in [3, 19] {
        let frame = encode_fetch_response::<Bytes>(&FetchResponse::default(), vec![], version, 1);
        assert!(frame.is_err());
    }
}

#[test]
fn a_share_fetch_response_in_pieces_is_the_message() {
    let mut random = Random::new(7);
    let mut with_records = 0;
    for version in ShareFetchResponse::VALID_VERSIONS.iter() {
        for correlation_id in 0..200 {
            let mut response = ShareFetchResponse::random(&mut random, version);
            let partitions = response.responses.iter_mut();
            for partition in partitions.flat_map(|topic| &mut topic.partitions) {
                partition.records.get_or_insert_default();
            }
            let whole = encode_response(&response, version, correlation_id).unwrap();
            let mut regions = Vec::new();
            let partitions = response.responses.iter_mut();
            for partition in partitions.flat_map(|topic| &mut topic.partitions) {
                let records = partition.records.take().unwrap_or_default();
                with_records += usize::from(!records.is_empty());
                regions.push(if records.is_empty() {
                    vec![]
                } else {
                    vec![records]
                });
            }
            let pieces = encode_share_fetch_response(&response, regions, version, correlation_id);
            assert_eq!(joined(pieces.unwrap()), whole, "version {version}");
        }
    }
    assert!(with_records > 100);
}
