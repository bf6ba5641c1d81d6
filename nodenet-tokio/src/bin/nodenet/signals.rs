//! SIGINT and SIGTERM: the first asks for a stop, the second ends the process at once.

use std::io;

use tokio::sync::watch;

/// Exit status of a process that a signal ended: 128 plus the signal's number, as shells have it.
const SIGNAL_STATUS_BASE: i32 = 128;
const SIGINT: i32 = 2;
#[cfg(unix)]
const SIGTERM: i32 = 15;

/// Whether somebody asked the program to stop.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut source = Source::new()?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            source.next().await;
            sender.send_replace(true);
            let number = source.next().await;
            std::process::exit(SIGNAL_STATUS_BASE + number);
        });
        Ok(Self(receiver))
    }

    /// Waits until a stop is asked for. Cancel safe.
    pub(crate) async fn stop(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // The listening task never ends before the process does.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SIGINT,
            _ = self.terminate.recv() => SIGTERM,
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> i32 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        SIGINT
    }
}
