//! SIGINT, SIGTERM and SIGHUP: the first asks for a stop, the second ends the process at once.

use std::io;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::now;

/// Time within which two signals, one of them SIGHUP, count as one request. A terminal that is
/// closed sends several, some through its shell, and a service manager may send one right after
/// SIGTERM; either may be noticed first (guess: they come within milliseconds).
const HANGUP_BOUND: Duration = Duration::from_secs(1);

/// A signal, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(u8);

impl Signal {
    const HUP: Self = Self(1);
    const INT: Self = Self(2);
    #[cfg(unix)]
    const TERM: Self = Self(15);

    /// Exit status of a process that this signal ended: 128 plus its number, as in shells.
    pub(crate) fn exit_status(self) -> u8 {
        128 + self.0
    }

    /// Whether this signal, this time after the first, is a second request.
    fn asks_again(self, first: Self, after: Duration) -> bool {
        ![self, first].contains(&Self::HUP) || after >= HANGUP_BOUND
    }
}

/// Requests to stop the program.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<Option<Signal>>);

impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut source = Source::new()?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let first = source.next().await;
            sender.send_replace(Some(first));
            let asked_at = now();
            let second = loop {
                let signal = source.next().await;
                if signal.asks_again(first, now() - asked_at) {
                    break signal;
                }
            };
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
use unix::Source;

#[cfg(unix)]
mod unix {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::{fs, io};

    use tokio::signal::unix::{SignalKind, signal};

    use super::Signal;

    /// SIGXFSZ, sent to a process whose file would exceed its size limit (signal(7)). On MIPS the
    /// number means SIGCONT, for which a handler does no harm.
    const XFSZ: i32 = 25;

    pub(super) struct Source {
        interrupt: tokio::signal::unix::Signal,
        terminate: tokio::signal::unix::Signal,
        /// None if it was ignored when the program started, as under nohup.
        hangup: Option<tokio::signal::unix::Signal>,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Self> {
            let hangup = match ignores_hangup() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            };
            // SIGXFSZ would end the process. With a handler, which stays, the write fails instead.
            drop(signal(SignalKind::from_raw(XFSZ))?);
            let interrupt = signal(SignalKind::interrupt())?;
            Ok(Self { interrupt, terminate: signal(SignalKind::terminate())?, hangup })
        }

        pub(super) async fn next(&mut self) -> Signal {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.terminate.recv() => Signal::TERM,
                _ = hangup => Signal::HUP,
            }
        }
    }

    /// Whether SIGHUP is ignored. Call it before a handler is installed.
    fn ignores_hangup() -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        is_hangup_ignored_in(&status).unwrap_or_else(does_a_child_ignore_hangup)
    }

    /// The same from the status of a process on Linux (proc_pid_status(5)): a set of signals in
    /// hexadecimal, with the first signal in the lowest bit.
    fn is_hangup_ignored_in(status: &str) -> Option<bool> {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
        Some(ignored & 1 != 0)
    }

    /// The same on any Unix: a child inherits ignored signals (POSIX, execve), so a shell that
    /// sends itself a SIGHUP shows it.
    fn does_a_child_ignore_hangup() -> bool {
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -HUP $$"]);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.status().is_ok_and(|status| status.signal().is_none() && status.success())
    }

    #[cfg(test)]
    mod tests {
        use super::{does_a_child_ignore_hangup, is_hangup_ignored_in};

        #[test]
        fn linux_and_a_shell_agree_about_hangups() {
            assert_eq!(
                is_hangup_ignored_in("Name:\tnodenet\nSigIgn:\t0000000000001001\n"),
                Some(true)
            );
            assert_eq!(
                is_hangup_ignored_in("SigBlk:\t1\nSigIgn:\t0000000000001000\n"),
                Some(false)
            );
            assert_eq!(is_hangup_ignored_in("SigIgn:\tsomething\n"), None);
            assert_eq!(is_hangup_ignored_in(""), None);
            if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
                let expected = is_hangup_ignored_in(&status).expect("Linux has the field");
                assert_eq!(does_a_child_ignore_hangup(), expected);
            }
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

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use super::Signal;

    #[test]
    fn a_hangup_and_a_signal_that_comes_with_it_are_one_request() {
        let (soon, late) = (Duration::from_millis(999), Duration::from_secs(1));
        for (first, second, asks_soon) in [
            (Signal::INT, Signal::INT, true),
            (Signal::TERM, Signal::INT, true),
            (Signal::HUP, Signal::HUP, false),
            (Signal::TERM, Signal::HUP, false),
            (Signal::HUP, Signal::TERM, false),
        ] {
            assert_eq!(second.asks_again(first, soon), asks_soon, "{first:?} {second:?}");
            assert!(second.asks_again(first, late), "{first:?} {second:?}");
        }
        assert_eq!(Signal::HUP.exit_status(), 129);
    }
}
