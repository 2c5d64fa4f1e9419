//! A server below HTTP: it reads one request from each connection, and then does what no well-behaved server does.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a connection after its request was read.
#[derive(Clone)]
pub enum Act {
    /// These bytes, then the end.
    Send(String),
    /// These bytes, then silence.
    Stall(String),
    /// A reset.
    Reset,
}

/// A whole answer.
pub fn whole(body: &str) -> Act {
    Act::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

/// The origin of a server that does these acts, one for each connection, and the last one again and again.
pub async fn start(acts: Vec<Act>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut stalled = Vec::new();
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            match acts[number.min(acts.len() - 1)].clone() {
                Act::Send(bytes) => {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                Act::Stall(bytes) => {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                    stalled.push(stream);
                }
                Act::Reset => reset(stream),
            }
        }
    });
    origin
}

async fn read_request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            return;
        }
        read.push(byte[0]);
    }
}

#[expect(deprecated, reason = "lingering for no time cannot block; it is how a reset is made")]
fn reset(stream: TcpStream) {
    stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
