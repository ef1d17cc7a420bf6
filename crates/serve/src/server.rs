//! A server's life cycle: bind, serve, drain, stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::router::router;
use crate::state::{AppState, CONSTRAINED_SLOTS, ServerPhase};
use crate::{ServeError, ServeOptions, ServedModel};

/// Interval at which the server checks whether it should stop.
const POLL: Duration = Duration::from_millis(20);
/// At shutdown, requests in flight have this long to finish.
const DRAIN: Duration = Duration::from_millis(200);
/// After the drain, open connections have this long to send their last response.
const CLOSE: Duration = Duration::from_millis(200);
/// Number of threads that render templates, tokenize and wait for grammars to be compiled: two
/// besides those of constrained requests.
const BLOCKING_THREADS: usize = 2 + CONSTRAINED_SLOTS;

/// A server bound to its address. Clients may connect before [`Server::run`]; their connections
/// wait until it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServeOptions,
}

impl Server {
    /// Binds the address and listens on it.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the address cannot be used.
    pub fn bind(options: ServeOptions) -> Result<Server, ServeError> {
        let address = options.address;
        let listen = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|cause| ServeError::Listen { address, cause })?;
        Ok(Server { listener, options })
    }

    /// The bound address, with the actual port if port 0 was requested.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the system does not report the address.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener
            .local_addr()
            .map_err(|cause| ServeError::Listen { address: self.options.address, cause })
    }

    /// Serves until `keep_running` returns false or the engine fails. Then requests in flight have
    /// 0.2 s to finish; the remaining ones are answered with an error, for which their connections
    /// have another 0.2 s.
    ///
    /// # Errors
    /// [`ServeError::Died`] if the engine failed, [`ServeError::Listen`] or [`ServeError::Runtime`]
    /// if the server cannot serve.
    pub fn run(
        self,
        model: ServedModel,
        keep_running: impl Fn() -> bool,
    ) -> Result<(), ServeError> {
        let runtime = runtime().map_err(|cause| ServeError::Runtime { cause })?;
        let app = Arc::new(AppState::new(model, self.options.clone()));
        let outcome = runtime.block_on(serve(
            self.listener,
            Arc::clone(&app),
            self.options.address,
            keep_running,
        ));
        // Blocking work that still runs is abandoned: it holds no resource that other code needs.
        runtime.shutdown_timeout(POLL);
        outcome
    }
}

/// An asynchronous runtime with one thread, which only does network I/O, so that the CPU cores are
/// left to the model.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
}

async fn serve(
    listener: TcpListener,
    app: Arc<AppState>,
    address: SocketAddr,
    keep_running: impl Fn() -> bool,
) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
    let mut phase = app.phase.subscribe();
    let stopped = async move {
        // The wait cannot fail: the sender is part of `app`, which outlives this future.
        let _closed = phase.wait_for(|phase| *phase == ServerPhase::Stopped).await;
    };
    let serving = axum::serve(listener, router(Arc::clone(&app))).with_graceful_shutdown(stopped);
    let serving = tokio::spawn(async move { serving.await });
    let mut fatal_error = None;
    while keep_running() && fatal_error.is_none() && !serving.is_finished() {
        tokio::time::sleep(POLL).await;
        fatal_error = app.model.engine.fatal_error();
    }
    drain(&app).await;
    if let Some(error) = fatal_error {
        return Err(ServeError::Died(error));
    }
    match tokio::time::timeout(CLOSE, serving).await {
        Ok(Ok(served)) => served.map_err(listen),
        Ok(Err(panic)) => Err(ServeError::Runtime { cause: std::io::Error::other(panic) }),
        // Connections that are still open are closed when the runtime is dropped.
        Err(_) => Ok(()),
    }
}

/// Refuses new requests, waits up to `DRAIN` for those in flight, then stops the remaining ones.
async fn drain(app: &AppState) {
    app.phase.send_replace(ServerPhase::Draining);
    let until = Instant::now() + DRAIN;
    while app.in_flight() > 0 && Instant::now() < until {
        tokio::time::sleep(POLL).await;
    }
    app.phase.send_replace(ServerPhase::Stopped);
}
