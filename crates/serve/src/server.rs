//! From binding an address to the last reply.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::app::{App, ServerPhase, router};
use crate::{ServeError, ServeOptions, ServedModel};

/// How often it is looked whether the server should end.
const POLL: Duration = Duration::from_millis(20);
/// How long replies may go on after the wish to end.
const DRAIN: Duration = Duration::from_millis(200);
/// How long connections may take to say their last words.
const FAREWELL: Duration = Duration::from_millis(200);
/// Threads for templates, tokenizers and schemas.
const ASIDE_THREADS: usize = 2;

/// A server that has its address. Clients that come before it runs wait.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServeOptions,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
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

    /// Where it listens, with the port that was free.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener
            .local_addr()
            .map_err(|cause| ServeError::Listen { address: self.options.address, cause })
    }

    /// Serves until `wanted` says no more, or the engine dies. Requests in work then have 0.2 s to
    /// end, and as long again to be told that they did not.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn run(self, served: ServedModel, wanted: impl Fn() -> bool) -> Result<(), ServeError> {
        let runtime = runtime().map_err(|cause| ServeError::Runtime { cause })?;
        let app = Arc::new(App::new(served, self.options.clone()));
        let outcome =
            runtime.block_on(serve(self.listener, Arc::clone(&app), self.options.address, wanted));
        // What is still at work aside is not waited for: it holds nothing that others need.
        runtime.shutdown_timeout(POLL);
        outcome
    }
}

/// One thread serves: it hands bytes on. The others are left to the model.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(ASIDE_THREADS)
        .build()
}

async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    address: SocketAddr,
    wanted: impl Fn() -> bool,
) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
    let mut ending = app.ending.subscribe();
    let ended = async move {
        // The sender lives in the app, which outlives this.
        let _closed = ending.wait_for(|ending| *ending == ServerPhase::Stopped).await;
    };
    let serving = axum::serve(listener, router(Arc::clone(&app))).with_graceful_shutdown(ended);
    let serving = tokio::spawn(async move { serving.await });
    let mut died = None;
    while wanted() && died.is_none() && !serving.is_finished() {
        tokio::time::sleep(POLL).await;
        died = app.served.engine.fatal_error();
    }
    drain(&app).await;
    if let Some(death) = died {
        return Err(ServeError::Died(death));
    }
    match tokio::time::timeout(FAREWELL, serving).await {
        Ok(Ok(served)) => served.map_err(listen),
        Ok(Err(panic)) => Err(ServeError::Runtime { cause: std::io::Error::other(panic) }),
        // Connections that are not done by then are cut.
        Err(_) => Ok(()),
    }
}

async fn drain(app: &App) {
    app.ending.send_replace(ServerPhase::Draining);
    let until = Instant::now() + DRAIN;
    while app.in_flight() > 0 && Instant::now() < until {
        tokio::time::sleep(POLL).await;
    }
    app.ending.send_replace(ServerPhase::Stopped);
}
