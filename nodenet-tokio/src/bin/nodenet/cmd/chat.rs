//! `nodenet chat`: a node with a prompt.
//!
//! `/to <id>` names a node, and every line after that is sent to it by routing; `/direct` sends the
//! lines after it over the edge to that node, and `/routed` goes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;

use clap::Args;
use nodenet_tokio::{Event, Node, NodeEvent, NodeId};
use tokio::io::BufReader;

use super::{Cmd, Ended};
use crate::CommandError;
use crate::args::NodeArgs;
use crate::clock::now;
use crate::health::{Health, Notice};
use crate::output::log::RateLimit;
use crate::output::term::printable;
use crate::output::{Output, Outputs};
use crate::session::{Session, TICK_INTERVAL, describe_path};
use crate::signals::Signals;
use crate::stdin::{Input, Lines};

const HELP: &str = "\
  /to <id>      send the lines after this to that node, by routing; a prefix of an id that was
                seen before will do
  /direct       send them over the edge to that node instead
  /routed       send them by routing again
  /connect <ip:port>
                get an edge to that node, at this address
  /peers        show the edges
  /id           show the line others join through this node with
  /help         show this
  /quit         leave";

/// Prints a line on an output.
macro_rules! show {
    ($out:expr, $($text:tt)*) => {
        $out.print(format_args!($($text)*))
    };
}

/// Flags of `nodenet chat`.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

impl Cmd for ChatArgs {
    fn execute<'a>(
        self: Box<Self>,
        signals: Signals,
        outputs: &'a Outputs,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(chat(*self, signals, outputs))
    }

    fn node_args(&self) -> Option<&NodeArgs> {
        Some(&self.node)
    }
}

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    To(&'a str),
    Direct,
    Routed,
    Connect(&'a str),
    Peers,
    Id,
    Help,
    Quit,
    Text(&'a str),
    Empty,
    Unknown(&'a str),
}

fn read_line(line: &str) -> Line<'_> {
    let line = line.trim_end_matches(['\r', '\n']);
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word {
        _ if line.trim().is_empty() => Line::Empty,
        "/to" => Line::To(rest.trim()),
        "/direct" => Line::Direct,
        "/routed" => Line::Routed,
        "/connect" => Line::Connect(rest.trim()),
        "/peers" => Line::Peers,
        "/id" => Line::Id,
        "/help" => Line::Help,
        "/quit" => Line::Quit,
        // A text that begins with a slash is typed with two.
        _ if line.starts_with("//") => Line::Text(&line[1..]),
        _ if line.starts_with('/') => Line::Unknown(word),
        _ => Line::Text(line),
    }
}

/// A session with a prompt, and the target of its lines.
struct Chat {
    session: Session,
    node: Node,
    out: Output,
    target: Option<NodeId>,
    direct: bool,
    /// Identifiers seen so far, for prefixes.
    seen: BTreeSet<NodeId>,
}

/// Identifiers kept for prefixes, at most: each message can add one (guess).
const SEEN_MAX: usize = 1_000;

async fn chat(args: ChatArgs, mut signals: Signals, outputs: &Outputs) -> Ended {
    let session = Session::start(&args.node, &mut signals, &outputs.err).await?;
    let out = &outputs.out;
    let mut chat = Chat::new(session, out.clone());
    let node = chat.node.clone();
    let deliveries = node.deliveries();
    let mut events = node.events();
    let mut lines = Lines::new(BufReader::new(tokio::io::stdin()));
    let mut ticks = tokio::time::interval(TICK_INTERVAL);
    let mut health = Health::new(now());
    let mut limit = RateLimit::new(now());

    show!(out, "you are {}", node.id());
    chat.show_bootstrap_line();
    show!(out, "/to <id> and then type; /help shows the rest");
    let ended = loop {
        tokio::select! {
            _ = signals.stop() => break Ok(()),
            ended = node.closed() => {
                ended?;
                break Ok(());
            }
            input = lines.next() => match input {
                Ok(Input::Line(line)) => if !chat.on_line(read_line(&line)).await? { break Ok(()) },
                Ok(Input::TooLong(len)) => {
                    show!(out, "not sent: the line has {len} bytes or more; send it in parts");
                }
                Ok(Input::End) => break Ok(()),
                Err(error) => break Err(CommandError::Input(error)),
            },
            Some(delivery) = deliveries.recv() => {
                chat.remember(delivery.originator);
                // A person reads along, so the burst is generous, but bounded.
                if let Some(suppressed) = limit.allow(now()) {
                    if suppressed > 0 {
                        show!(out, "({suppressed} more messages, not shown)");
                    }
                    let text = String::from_utf8_lossy(&delivery.payload);
                    let path = describe_path(delivery.path);
                    show!(out, "{:?} ({path}): {}", delivery.originator, printable(&text));
                }
            }
            Some(event) = events.recv() => {
                if let NodeEvent::Protocol(Event::EdgeUp { peer, .. }) = event {
                    chat.remember(peer);
                }
                report(out, chat.session.observe(&mut health, &event).await);
            }
            _ = ticks.tick() => report(out, health.handle_tick(now())),
        }
    };
    show!(out, "leaving");
    chat.session.leave().await?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Prints notices between the messages.
fn report(out: &Output, notices: impl IntoIterator<Item = Notice>) {
    for notice in notices {
        match notice {
            Notice::Info(text) | Notice::Warning(_, text) => show!(out, "({text})"),
            Notice::Debug(_) => notice.log(),
        }
    }
}

impl Chat {
    fn new(session: Session, out: Output) -> Self {
        let node = session.node.clone();
        Self { session, node, out, target: None, direct: false, seen: BTreeSet::new() }
    }

    /// Carries out one line. False when the line ends the chat.
    async fn on_line(&mut self, line: Line<'_>) -> Result<bool, CommandError> {
        match line {
            Line::Quit => return Ok(false),
            Line::Empty => {}
            Line::Help => show!(self.out, "{HELP}"),
            Line::Id => self.show_bootstrap_line(),
            Line::Peers => self.show_peers().await?,
            Line::To(text) => match find(text, &self.seen) {
                Ok(id) => {
                    (self.target, self.direct) = (Some(id), false);
                    show!(self.out, "lines go to {id} by routing");
                }
                Err(problem) => show!(self.out, "{problem}"),
            },
            Line::Direct | Line::Routed => {
                self.direct = line == Line::Direct;
                show!(
                    self.out,
                    "lines go {}",
                    if self.direct { "over the edge" } else { "by routing" }
                );
            }
            Line::Connect(addr) => self.connect(addr),
            Line::Unknown(word) => {
                show!(self.out, "there is no command {word}; /help lists the commands")
            }
            Line::Text(text) => self.send(text).await,
        }
        Ok(true)
    }

    async fn send(&self, text: &str) {
        let Some(target) = self.target else {
            show!(self.out, "no target yet; name a node with /to <id>");
            return;
        };
        let payload = text.to_owned().into_bytes();
        let sent = match self.direct {
            true => self.node.send_direct(target, payload).await,
            false => self.node.send(target, payload).await.map(|_copies| ()),
        };
        if let Err(error) = sent {
            show!(self.out, "not sent: {error}");
        }
    }

    /// Dials in the background: the prompt does not wait for an answer that may not come.
    fn connect(&self, addr: &str) {
        let (Some(target), Ok(addr)) = (self.target, addr.parse::<SocketAddr>()) else {
            show!(
                self.out,
                "name a node with /to <id> first, and then its address: /connect <ip:port>"
            );
            return;
        };
        let (node, out) = (self.node.clone(), self.out.clone());
        tokio::spawn(async move {
            match node.connect(target, [addr]).await {
                Ok(()) => show!(out, "there is an edge to {target}"),
                Err(error) => show!(out, "no edge to {target}: {error}"),
            }
        });
    }

    async fn show_peers(&self) -> Result<(), CommandError> {
        let edges = self.node.edges().await?;
        for edge in &edges {
            let direction = if edge.outgoing { "dialed" } else { "accepted" };
            let rtt_ms = edge.rtt.as_secs_f64() * 1e3;
            show!(self.out, "  {}  {direction}, {}, {rtt_ms:.1} ms", edge.peer, edge.remote);
        }
        show!(self.out, "{} edge(s)", edges.len());
        Ok(())
    }

    fn show_bootstrap_line(&self) {
        if let Some(line) = self.session.bootstrap_line() {
            show!(self.out, "others join through you with: --bootstrap {line}");
        }
    }

    fn remember(&mut self, id: NodeId) {
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(id);
        }
    }
}

/// The node that `text` names: an identifier, or the beginning of one that was seen.
fn find(text: &str, seen: &BTreeSet<NodeId>) -> Result<NodeId, String> {
    if text.is_empty() {
        return Err("/to needs the id of a node, or the beginning of one seen before".to_owned());
    }
    let error = match text.parse() {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    let prefix = text.to_lowercase();
    let mut matching = seen.iter().filter(|id| id.to_string().starts_with(&prefix));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(*id),
        (Some(_), Some(_)) => Err(format!("several ids begin with {text}; write more of it")),
        (None, _) => Err(format!("no id that begins with {text} was seen, and {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nodenet_tokio::NodeId;

    use super::{Line, find, read_line};

    #[test]
    fn lines_are_commands_or_text() {
        for (line, read) in [
            ("/to 12ab", Line::To("12ab")),
            ("/to", Line::To("")),
            ("/direct", Line::Direct),
            ("/routed\r", Line::Routed),
            ("/connect [::1]:5", Line::Connect("[::1]:5")),
            ("/quit", Line::Quit),
            ("  hello /to you", Line::Text("  hello /to you")),
            ("//etc/hosts", Line::Text("/etc/hosts")),
            ("/fly me", Line::Unknown("/fly")),
            ("   ", Line::Empty),
            ("", Line::Empty),
        ] {
            assert_eq!(read_line(line), read, "{line:?}");
        }
    }

    #[test]
    fn a_prefix_means_the_only_id_that_begins_with_it() {
        let ids = [[0x11; 32], [0x12; 32], [0xab; 32]].map(NodeId::from_bytes);
        let seen = BTreeSet::from(ids);
        assert_eq!(find("AB", &seen), Ok(ids[2]));
        assert_eq!(find("12", &seen), Ok(ids[1]));
        assert!(find("1", &seen).unwrap_err().contains("several"));
        assert!(find("77", &seen).unwrap_err().contains("no id that begins with 77"));
        assert!(find("", &seen).unwrap_err().contains("needs the id"));
        let unseen = NodeId::from_bytes([0x77; 32]);
        assert_eq!(find(&unseen.to_string(), &seen), Ok(unseen));
    }
}
