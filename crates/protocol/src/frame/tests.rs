use super::*;
use crate::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    SaslHandshakeRequest,
};

#[test]
fn a_request_comes_back_from_its_frame() {
    let request = MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    for version in [4, 8, 9, 13] {
        let bytes = encode_request(&request, version, 7, Some("me")).unwrap();
        let prefix = bytes[..SIZE_LENGTH].try_into().unwrap();
        assert_eq!(frame_size(prefix, 100), Ok(bytes.len() - SIZE_LENGTH));
        let frame = RequestFrame::decode(bytes.slice(SIZE_LENGTH..)).unwrap();
        assert_eq!(
            (frame.api_key, frame.header.correlation_id),
            (ApiKey::Metadata, 7)
        );
        assert_eq!(frame.client_id(), "me");
        assert_eq!(frame.decode_body::<MetadataRequest>(), Ok(request.clone()));
    }
}

#[test]
fn the_client_id_is_never_compact() {
    let bytes = encode_request(&ApiVersionsRequest::default(), 3, 1, Some("c")).unwrap();
    let header = [0, 18, 0, 3, 0, 0, 0, 1, 0, 1, b'c', 0];
    assert_eq!(bytes[SIZE_LENGTH..SIZE_LENGTH + header.len()], header);
    let bytes = encode_request(&SaslHandshakeRequest::default(), 1, 1, None).unwrap();
    assert_eq!(
        bytes[SIZE_LENGTH..],
        [0, 17, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0]
    );
}

#[test]
fn a_version_that_does_not_exist_still_has_a_header() {
    let mut writer = Writer::new();
    let header = RequestHeader {
        request_api_key: ApiKey::ApiVersions.code(),
        request_api_version: 99,
        correlation_id: 5,
        ..Default::default()
    };
    header.encode(&mut writer, 2).unwrap();
    let frame = RequestFrame::decode(writer.into_bytes()).unwrap();
    assert_eq!((frame.header.correlation_id, frame.client_id()), (5, ""));
    assert!(frame.decode_body::<ApiVersionsRequest>().is_err());
}

#[test]
fn a_response_comes_back_from_its_frame() {
    let response = MetadataResponse {
        controller_id: 3,
        ..Default::default()
    };
    for version in [1, 9] {
        let frame = encode_response(&response, version, 11)
            .unwrap()
            .slice(SIZE_LENGTH..);
        assert_eq!(response_correlation_id(&frame), Ok(11));
        assert_eq!(decode_response(frame, version), Ok((11, response.clone())));
    }
    let bytes = encode_response(&ApiVersionsResponse::default(), 3, 11).unwrap();
    assert_eq!(bytes[SIZE_LENGTH..SIZE_LENGTH + 6], [0, 0, 0, 11, 0, 0]);
}

#[test]
fn sizes_out_of_range_and_unknown_keys_are_errors() {
    assert!(frame_size((-1i32).to_be_bytes(), 100).is_err());
    assert!(frame_size(101i32.to_be_bytes(), 100).is_err());
    assert_eq!(frame_size(100i32.to_be_bytes(), 100), Ok(100));
    let frame = RequestFrame::decode(Bytes::from_static(&[0, 4, 0, 0]));
    assert_eq!(frame.err(), Some(DecodeError::UnknownApiKey(4)));
    assert!(RequestFrame::decode(Bytes::from_static(&[0])).is_err());
}
