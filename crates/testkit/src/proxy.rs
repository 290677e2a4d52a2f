//! A proxy between a client and a server that behaves as badly as real ones do: it cuts a
//! connection on which no byte passed for a while. Used by tests whose streams are silent for long.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a pump looks at the clock, and how long the end of a proxy may take.
const TICK: Duration = Duration::from_millis(50);

/// What a pump reads at once.
const CHUNK: usize = 64 * 1024;

/// A running proxy on a free port of loopback. Dropping it cuts all its connections.
#[derive(Debug)]
pub struct IdleProxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    idle: Duration,
    stopped: AtomicBool,
    cuts: AtomicUsize,
}

/// Two halves of a connection through the proxy.
struct Link {
    ends: [TcpStream; 2],
    last_byte: Mutex<Instant>,
    is_cut: AtomicBool,
}

impl IdleProxy {
    /// A proxy to a port of loopback that cuts what was silent for `idle`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(upstream: u16, idle: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream)),
            idle,
            stopped: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || serving.accept(&listener));
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections it has cut because they were silent.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for IdleProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut pumps = Vec::new();
        for client in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
            let connected = client.and_then(|client| Link::new(client, self.upstream));
            let Ok(link) = connected.map(Arc::new) else { continue };
            pumps.extend([(0, 1), (1, 0)].map(|way| {
                let (shared, link) = (Arc::clone(self), Arc::clone(&link));
                std::thread::spawn(move || shared.pump(&link, way))
            }));
        }
        for pump in pumps {
            let _ = pump.join();
        }
    }

    /// Carries bytes one way until an end closes or the connection is cut.
    fn pump(&self, link: &Link, (from, to): (usize, usize)) {
        let (mut source, mut sink) = (&link.ends[from], &link.ends[to]);
        let mut chunk = vec![0; CHUNK];
        loop {
            match source.read(&mut chunk) {
                Ok(0) => break drop(sink.shutdown(Shutdown::Write)),
                Ok(length) => {
                    link.touch();
                    if sink.write_all(&chunk[..length]).is_err() {
                        break link.close();
                    }
                    link.touch();
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.stopped.load(Ordering::SeqCst) {
                        break link.close();
                    }
                    if link.silence() >= self.idle {
                        if !link.is_cut.swap(true, Ordering::SeqCst) {
                            self.cuts.fetch_add(1, Ordering::SeqCst);
                        }
                        break link.close();
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break link.close(),
            }
        }
    }
}

impl Link {
    fn new(client: TcpStream, upstream: SocketAddr) -> std::io::Result<Self> {
        let server = TcpStream::connect(upstream)?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(TICK))?;
            end.set_nodelay(true)?;
        }
        let last_byte = Mutex::new(Instant::now());
        Ok(Self { ends: [client, server], last_byte, is_cut: AtomicBool::new(false) })
    }

    fn touch(&self) {
        *self.last_byte.lock().expect("no holder of the clock panics") = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.last_byte.lock().expect("no holder of the clock panics").elapsed()
    }

    fn close(&self) {
        for end in &self.ends {
            // It may be closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
