//! Bodies as hyper's own server reads them from bytes on a wire.

use std::cell::Cell;
use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

/// More than any test writes.
const PIPE_BYTES: usize = 1 << 20;
/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
const PATIENT: Patience = Patience { idle: LONG, deadline: None };

/// Runs `test` with the body of the request that is on the wire, the client's end of the wire, and the
/// memory that is counted in.
async fn with_upload<T>(
    wire: &[u8],
    limits: UploadLimits,
    test: impl AsyncFnOnce(SharedUpload, DuplexStream, Arc<ReplayMemory>) -> T,
) -> T {
    let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
    client.write_all(wire).await.unwrap();
    let (give, take) = tokio::sync::oneshot::channel();
    let give = Cell::new(Some(give));
    let service = service_fn(|request: Request<Incoming>| {
        give.take().unwrap().send(request.into_body()).unwrap();
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let memory = Arc::new(ReplayMemory::default());
    let body = async {
        let incoming = take.await.unwrap();
        let upload = SharedUpload::new(incoming, limits, Arc::clone(&memory), clock::now());
        test(upload, client, Arc::clone(&memory)).await
    };
    let connection = async {
        // How it ended, the body tells.
        let _ended = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        never = connection => match never {},
        output = body => output,
    }
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = CHUNKED.to_vec();
    for piece in body.chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nx-sum: 7\r\n\r\n");
    wire
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

const ROOMY: UploadLimits = UploadLimits::new(1 << 20, 1 << 20);

impl ReplayMemory {
    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The whole body of the next try, with its trailers.
async fn sent(upload: &SharedUpload) -> (Vec<u8>, Option<HeaderMap>) {
    let collected = upload.next_body(clock::now()).collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (collected.to_bytes().to_vec(), trailers)
}

#[tokio::test]
async fn every_try_begins_with_what_was_gathered() {
    for length in [1_usize, 99, 100, 101, 300] {
        let body = pattern(length);
        let wires = [(with_length(&body), true), (in_chunks(&body, length), false), (in_chunks(&body, 1), false)];
        for (wire, announced) in wires {
            with_upload(&wire, ROOMY, async |upload, _client, memory| {
                let mut timer = Timer::default();
                let Gathered { bytes, extent } = upload.gather(100, PATIENT, &mut timer).await.unwrap();
                let expected = if length > 100 { Extent::TooLarge } else { Extent::Whole };
                assert_eq!(extent, expected, "{length}");
                assert!(body.starts_with(&bytes), "{length}");
                let least = if length <= 100 {
                    length
                } else if announced {
                    0
                } else {
                    101
                };
                assert!(bytes.len() >= least, "{length}: {}", bytes.len());
                assert_eq!(memory.bytes(), bytes.len() as u64);
                upload.keep_up_to(1_000);
                for _ in 0..3 {
                    let (again, trailers) = sent(&upload).await;
                    assert!(again == body, "{length}");
                    assert_eq!(trailers.is_some(), !announced, "{length}");
                    assert!(upload.can_replay() && upload.progress().finished);
                }
                drop(upload);
                assert_eq!(memory.bytes(), 0);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn without_a_second_try_what_was_gathered_is_freed_as_the_body_goes_on() {
    let body = pattern(300);
    with_upload(&in_chunks(&body, 50), ROOMY, async |upload, _client, memory| {
        upload.gather(100, PATIENT, &mut Timer::default()).await.unwrap();
        assert!(upload.can_replay() && memory.bytes() > 100);
        let (again, trailers) = sent(&upload).await;
        assert!(again == body && trailers.is_some());
        assert!(!upload.can_replay());
        assert_eq!(memory.bytes(), 0);
    })
    .await;
}

#[tokio::test]
async fn gathering_goes_on_where_it_stopped() {
    let body = pattern(300);
    with_upload(&in_chunks(&body, 50), ROOMY, async |upload, _client, _memory| {
        let mut timer = Timer::default();
        for (limit, length, extent) in [(10, 50, Extent::TooLarge), (200, 250, Extent::TooLarge)] {
            let gathered = upload.gather(limit, PATIENT, &mut timer).await.unwrap();
            assert_eq!((gathered.bytes.len(), gathered.extent), (length, extent));
        }
        for _ in 0..2 {
            let gathered = upload.gather(1_000, PATIENT, &mut timer).await.unwrap();
            assert_eq!(gathered, Gathered { bytes: body.clone().into(), extent: Extent::Whole });
        }
        assert!(sent(&upload).await.0 == body);
    })
    .await;
}

#[tokio::test]
async fn an_empty_body_is_whole() {
    with_upload(&in_chunks(b"", 1), ROOMY, async |upload, _client, memory| {
        let gathered = upload.gather(100, PATIENT, &mut Timer::default()).await.unwrap();
        assert_eq!(gathered, Gathered { bytes: Bytes::new(), extent: Extent::Whole });
        assert_eq!((sent(&upload).await.0.len(), memory.bytes()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn without_memory_the_body_streams_on() {
    let body = pattern(300);
    let limits = UploadLimits::new(1 << 20, 60);
    with_upload(&in_chunks(&body, 50), limits, async |upload, _client, memory| {
        let gathered = upload.gather(1_000, PATIENT, &mut Timer::default()).await.unwrap();
        assert_eq!((gathered.bytes.len(), gathered.extent), (100, Extent::NoMemory));
        upload.keep_up_to(1_000);
        assert!(sent(&upload).await.0 == body);
        assert!(!upload.can_replay());
        assert_eq!(memory.bytes(), 0);
    })
    .await;
}

#[tokio::test]
async fn faults_of_the_client_end_it() {
    let short = Duration::from_millis(20);
    let idle = Patience { idle: short, deadline: None };
    let late = Patience { idle: LONG, deadline: Some(clock::now() + short) };
    let half = [CHUNKED, b"5\r\nhel"].concat();
    let malformed = [CHUNKED, b"zz\r\n"].concat();
    let rows = [
        (half.as_slice(), idle, false, UploadError::Stalled),
        (&half, late, false, UploadError::Stalled),
        (CHUNKED, idle, false, UploadError::Stalled),
        (&half, PATIENT, true, UploadError::Broken),
        (&malformed, PATIENT, false, UploadError::Broken),
        (&in_chunks(&pattern(300), 50), PATIENT, false, UploadError::TooLarge),
    ];
    for (wire, patience, leaves, expected) in rows {
        with_upload(wire, UploadLimits::new(200, 1_000), async |upload, client, memory| {
            let _stays = (!leaves).then_some(client);
            let gathered = upload.gather(1_000, patience, &mut Timer::default()).await;
            assert_eq!(gathered, Err(expected));
            assert_eq!(upload.failure(), Some(expected));
            assert!(!upload.can_replay());
            drop(upload);
            assert_eq!(memory.bytes(), 0);
        })
        .await;
    }
}

#[tokio::test]
async fn what_comes_later_is_waited_for() {
    let body = pattern(64);
    let wire = in_chunks(&body, 1);
    with_upload(&wire[..CHUNKED.len()], ROOMY, async |upload, mut client, _memory| {
        let mut timer = Timer::default();
        let gathering = upload.gather(64, PATIENT, &mut timer);
        let sending = async {
            for byte in &wire[CHUNKED.len()..] {
                client.write_all(std::slice::from_ref(byte)).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (gathered, ()) = tokio::join!(gathering, sending);
        assert_eq!(gathered, Ok(Gathered { bytes: body.into(), extent: Extent::Whole }));
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_or_sent_out_of_order(
        length in 0_usize..300,
        size in 1_usize..120,
        limit in 0_u64..400,
        keep in 0_u64..400,
        given_up_after in 0_usize..6,
    ) {
        let body = pattern(length);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(with_upload(&in_chunks(&body, size), ROOMY, async |upload, _client, memory| {
            upload.gather(limit, PATIENT, &mut Timer::default()).await.unwrap();
            upload.keep_up_to(keep);
            let mut first = upload.next_body(clock::now());
            let mut seen = Vec::new();
            for _ in 0..given_up_after {
                if let Some(frame) = first.frame().await {
                    seen.extend(frame.unwrap().into_data().unwrap_or_default());
                }
            }
            assert!(body.starts_with(&seen));
            if upload.can_replay() {
                assert!(sent(&upload).await.0 == body);
                drop(first);
            } else {
                seen.extend(first.collect().await.unwrap().to_bytes());
                assert!(seen == body);
            }
            drop(upload);
            assert_eq!(memory.bytes(), 0);
        }));
    }
}

#[tokio::test]
async fn what_is_left_of_a_body_never_passes_for_the_whole() {
    with_upload(&with_length(b"abcde"), ROOMY, async |upload, _client, _memory| {
        let mut first = Box::pin(upload.next_body(clock::now()));
        assert!(first.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(!upload.can_replay(), "nothing is kept");
        let mut second = Box::pin(upload.next_body(clock::now()));
        assert!(!second.is_end_stream());
        assert_eq!(second.frame().await.map(|frame| frame.err()), Some(Some(UploadError::Revoked)));
    })
    .await;
}
