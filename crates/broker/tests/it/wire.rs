use ottla_broker::request::Reply;
use ottla_broker::testing::TestNode;
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ErrorCode, Message, Reader};

#[test]
fn api_versions_tells_what_is_served() {
    let node = TestNode::start(1);
    let connection = node.connect();
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = "test".into();
            request.client_software_version = "1.0".into();
        }
        let response = node.ask(&connection, &request, version);
        assert_eq!(response.error_code, 0);
        let produce = response
            .api_keys
            .iter()
            .find(|key| key.api_key == 0)
            .unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
        let fetch = response
            .api_keys
            .iter()
            .find(|key| key.api_key == 1)
            .unwrap();
        assert_eq!((fetch.min_version, fetch.max_version), (4, 18));
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let node = TestNode::start(1);
    let connection = node.connect();
    let frame = [0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x', 0];
    let answer = connection.send_frame(node.node(), &frame);
    let Some(Reply::Response(frame)) = answer.lock().take() else {
        panic!("an answer was due");
    };
    let [piece] = frame.pieces() else {
        panic!("one piece was due");
    };
    let ottla_protocol::frame::response::Piece::Bytes(bytes) = piece else {
        panic!("bytes were due");
    };
    let mut reader = Reader::new(bytes.slice(8..));
    let response = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    assert_eq!(response.api_keys.len(), 1);
}

#[test]
fn what_is_no_request_closes_the_connection() {
    let node = TestNode::start(1);
    let connection = node.connect();
    let frames: [&[u8]; 6] = [
        b"",
        b"\x00",
        // An API that does not exist.
        b"\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff",
        // Produce in a version that is advertised but refused.
        b"\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff",
        // A header that ends in the middle of the client id.
        b"\x00\x03\x00\x01\x00\x00\x00\x01\x00\x09ab",
        // Metadata with an array longer than the frame.
        b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff",
    ];
    for frame in frames {
        let answer = connection.send_frame(node.node(), frame);
        assert!(matches!(*answer.lock(), Some(Reply::Close)), "{frame:?}");
    }
}
