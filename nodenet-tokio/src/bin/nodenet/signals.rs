//! SIGINT and SIGTERM: the first asks for a stop, the second ends the process at once.

use std::io;

use tokio::sync::watch;

/// A signal, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(u8);

impl Signal {
    const INT: Self = Self(2);
    #[cfg(unix)]
    const TERM: Self = Self(15);

    /// Exit status of a process that this signal ended: 128 plus its number, as shells have it.
    pub(crate) fn exit_status(self) -> u8 {
        128 + self.0
    }
}

/// Whether somebody asked the program to stop.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<Option<Signal>>);

impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut source = Source::new()?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            sender.send_replace(Some(source.next().await));
            let second = source.next().await;
            std::process::exit(second.exit_status().into());
        });
        Ok(Self(receiver))
    }

    /// Waits until a stop is asked for; returns by which signal. Cancel safe.
    pub(crate) async fn stop(&mut self) -> Signal {
        match self.0.wait_for(Option::is_some).await.map(|asked| *asked) {
            Ok(Some(signal)) => signal,
            // The listening task never ends before the process does.
            Ok(None) | Err(_) => std::future::pending().await,
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

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
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

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::INT
    }
}
