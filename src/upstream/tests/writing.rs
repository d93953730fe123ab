//! Pieces of a message on their way into a socket.

use std::future::poll_fn;
use std::io::IoSlice;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::poll_send;

#[tokio::test]
async fn pieces_arrive_in_order_whether_joined_or_not() {
    let rows = [
        (b"head".to_vec(), vec![]),
        (b"head".to_vec(), b"body".to_vec()),
        (vec![b'h'; 1_000], vec![b'b'; 24]),
        (vec![b'h'; 1_000], vec![b'b'; 25]),
        (vec![b'h'; 300], vec![b'b'; 4_000]),
    ];
    for (first, second) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut receiver, _) = listener.accept().await.unwrap();
        let all = [first.clone(), second.clone()].concat();
        let pieces = [IoSlice::new(&first), IoSlice::new(&second)];
        let used = if second.is_empty() { &pieces[..1] } else { &pieces[..] };
        let sent = poll_fn(|cx| poll_send(&mut sender, cx, used)).await.unwrap();
        assert_eq!(sent, all.len());
        drop(sender);
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, all);
    }
}
