//! Connections that can be broken on purpose and whose bytes are counted, and a listener that can go away for a while.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How often the listener checks whether it should be there.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Breaks one connection.
#[derive(Debug, Default)]
struct Breaker {
    is_broken: AtomicBool,
    with_reset: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Breaker {
    fn pull(&self, with_reset: bool) {
        self.with_reset.store(with_reset, Ordering::Relaxed);
        self.is_broken.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// A request's own connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Breaker>);

impl Peer {
    /// Nothing more is read or written.
    pub fn break_off(&self, with_reset: bool) {
        self.0.pull(with_reset);
    }
}

impl<F: Fn() -> bool + Send + 'static> Connected<IncomingStream<'_, FaultyListener<F>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, FaultyListener<F>>) -> Self {
        Self(Arc::clone(&stream.io().breaker))
    }
}

/// Bytes that came and went, headers included, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// (received, sent)
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// Listens, except while `is_shut` says so: then there is nothing at the address.
pub(crate) struct FaultyListener<F> {
    listener: Option<TcpListener>,
    address: SocketAddr,
    is_shut: F,
    traffic: Arc<Traffic>,
    connections: Vec<Weak<Breaker>>,
}

impl<F: Fn() -> bool + Send + 'static> FaultyListener<F> {
    pub fn new(listener: TcpListener, is_shut: F, traffic: Arc<Traffic>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener: Some(listener), address, is_shut, traffic, connections: Vec::new() })
    }

    fn shut(&mut self) {
        self.listener = None;
        for breaker in self.connections.drain(..).filter_map(|weak| weak.upgrade()) {
            breaker.pull(true);
        }
    }
}

impl<F: Fn() -> bool + Send + 'static> Listener for FaultyListener<F> {
    type Io = MeteredStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (MeteredStream, SocketAddr) {
        loop {
            if (self.is_shut)() {
                self.shut();
                tokio::time::sleep(CHECK_INTERVAL).await;
                continue;
            }
            let Some(listener) = &self.listener else {
                // Somebody may have taken the port meanwhile: then again a moment later.
                self.listener = TcpListener::bind(self.address).await.ok();
                tokio::time::sleep(CHECK_INTERVAL).await;
                continue;
            };
            match tokio::time::timeout(CHECK_INTERVAL, listener.accept()).await {
                Ok(Ok((stream, from))) => {
                    let breaker = Arc::new(Breaker::default());
                    self.connections.retain(|weak| weak.strong_count() > 0);
                    self.connections.push(Arc::downgrade(&breaker));
                    return (MeteredStream { stream, breaker, traffic: Arc::clone(&self.traffic) }, from);
                }
                Ok(Err(error)) => {
                    tracing::debug!("a connection could not be accepted: {error}");
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A connection with a breaker and a meter in it.
pub(crate) struct MeteredStream {
    stream: TcpStream,
    breaker: Arc<Breaker>,
    traffic: Arc<Traffic>,
}

impl MeteredStream {
    /// An error once the breaker was pulled.
    fn check(&self) -> io::Result<()> {
        if !self.breaker.is_broken.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.breaker.with_reset.load(Ordering::Relaxed) {
            // Closing then sends a reset.
            self.stream.set_zero_linger()?;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.breaker.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        self.check()?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.traffic.received.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
