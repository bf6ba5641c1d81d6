//! Requests of the control vocabulary: one JSON object to a line (docs/CONTROL.md).
//!
//! Responsible for: what a line may say, and the errors of one that says something else. Never:
//! carries a request out.

use std::net::SocketAddr;

use bytes::Bytes;
use nodenet_tokio::NodeId;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::answer::{Refusal, RefusalCode};

/// Bytes of the text of an id, at most (guess: a UUID and more).
const ID_LEN_MAX: usize = 128;
/// Longest time that a request may ask for, in seconds: that of a rendezvous.
const WITHIN_MAX_S: u64 = 300;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Get an edge.
    Connect {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(default)]
        addrs: Vec<SocketAddr>,
        /// Whether each step is a line as it happens.
        #[serde(default)]
        steps: bool,
    },
    /// What happened in the last connect.
    Explain {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
    },
    /// A round trip over routing, and that of the edge if there is one.
    Ping {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(default)]
        within_s: Option<u64>,
    },
    /// Keys and addresses of a node.
    Rendezvous {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(default)]
        within_s: Option<u64>,
    },
    /// A message by routing.
    Send {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(deserialize_with = "payload")]
        payload_hex: Bytes,
    },
    /// A message over the edge.
    SendDirect {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(deserialize_with = "payload")]
        payload_hex: Bytes,
    },
    /// A message by routing that only the peer can read.
    SendSealed {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
        #[serde(deserialize_with = "payload")]
        payload_hex: Bytes,
    },
    /// The edges now.
    Edges {},
    /// Own address, NAT and reachability.
    Nat {},
    /// Counters and gauges.
    Stats {},
    /// Peers to join through later.
    Export {},
    /// End an edge.
    Close {
        #[serde(deserialize_with = "node_id")]
        peer: NodeId,
    },
    /// Leave the network.
    Leave {},
}

impl Request {
    fn within_s(&self) -> Option<u64> {
        match self {
            Self::Ping { within_s, .. } | Self::Rendezvous { within_s, .. } => *within_s,
            _ => None,
        }
    }
}

/// Reads a line. The id comes back even if the rest can not be read, so that the error can name it.
pub(super) fn parse(line: &str) -> (Value, Result<Request, Refusal>) {
    let refuse = |code, text: String| Err(Refusal { code, text });
    let mut fields = match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => {
            let text = "a request is a JSON object with \"id\" and \"request\"".to_owned();
            return (Value::Null, refuse(RefusalCode::BadRequest, text));
        }
        Err(error) => return (Value::Null, refuse(RefusalCode::BadJson, error.to_string())),
    };
    let id = fields.remove("id").unwrap_or_default();
    let is_usable = match &id {
        Value::String(text) => text.len() <= ID_LEN_MAX,
        Value::Number(_) => true,
        _ => false,
    };
    if !is_usable {
        let text = format!("\"id\" must be a number or a text of at most {ID_LEN_MAX} bytes");
        return (Value::Null, refuse(RefusalCode::BadRequest, text));
    }
    let read = serde_json::from_value::<Request>(Value::Object(fields));
    let request = match read {
        Ok(request) if request.within_s().is_some_and(|s| !(1..=WITHIN_MAX_S).contains(&s)) => {
            let text = format!("\"within_s\" must be from 1 to {WITHIN_MAX_S}");
            refuse(RefusalCode::BadRequest, text)
        }
        Ok(request) => Ok(request),
        Err(error) => refuse(RefusalCode::BadRequest, error.to_string()),
    };
    (id, request)
}

fn node_id<'de, D: Deserializer<'de>>(source: D) -> Result<NodeId, D::Error> {
    let text = String::deserialize(source)?;
    text.parse().map_err(|error| serde::de::Error::custom(format!("\"{text}\": {error}")))
}

fn payload<'de, D: Deserializer<'de>>(source: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(source)?;
    let wrong = || serde::de::Error::custom("\"payload_hex\" must be pairs of hexadecimal digits");
    if !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes().chunks_exact(2).map(|pair| {
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        u8::try_from(value).ok()
    });
    bytes.collect::<Option<Vec<u8>>>().map(Bytes::from).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

    fn peer() -> NodeId {
        ID.parse().expect("a literal")
    }

    #[test]
    fn requests_are_read_with_their_id() {
        let line = format!("{{\"id\": 7, \"request\": \"connect\", \"peer\": \"{ID}\"}}");
        let connect = Request::Connect { peer: peer(), addrs: Vec::new(), steps: false };
        assert_eq!(parse(&line), (json!(7), Ok(connect)));
        let line = json!({
            "request": "send", "id": "a", "peer": ID.to_uppercase(), "payload_hex": "00fF",
        });
        let payload_hex = Bytes::from_static(&[0, 255]);
        let send = Request::Send { peer: peer(), payload_hex };
        assert_eq!(parse(&line.to_string()), (json!("a"), Ok(send)));
        let (_, edges) = parse("{\"id\":1,\"request\":\"edges\"}");
        assert_eq!(edges, Ok(Request::Edges {}));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_names_the_id_if_there_is_one() {
        let cases = [
            ("{".to_owned(), Value::Null, RefusalCode::BadJson, "EOF"),
            ("[]".to_owned(), Value::Null, RefusalCode::BadRequest, "a JSON object"),
            ("{}".to_owned(), Value::Null, RefusalCode::BadRequest, "\"id\" must be"),
            (json!({"id": []}).to_string(), Value::Null, RefusalCode::BadRequest, "\"id\" must be"),
            (json!({"id": 1}).to_string(), json!(1), RefusalCode::BadRequest, "request"),
            (
                json!({"id": 1, "request": "fly"}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "unknown variant `fly`, expected one of `connect`",
            ),
            (
                json!({"id": 1, "request": "close", "peer": "12ab"}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "\"12ab\": a node id has exactly 64",
            ),
            (
                json!({"id": 1, "request": "close"}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "missing field `peer`",
            ),
            (
                json!({"id": 1, "request": "ping", "peer": ID, "within_s": 0}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "from 1 to 300",
            ),
            (
                json!({"id": 1, "request": "send", "peer": ID, "payload_hex": "0g"}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "pairs of hexadecimal digits",
            ),
            (
                json!({"id": 1, "request": "explain", "peer": ID, "loud": true}).to_string(),
                json!(1),
                RefusalCode::BadRequest,
                "unknown field `loud`",
            ),
            (
                json!({"id": "x".repeat(ID_LEN_MAX + 1), "request": "edges"}).to_string(),
                Value::Null,
                RefusalCode::BadRequest,
                "at most 128 bytes",
            ),
        ];
        for (line, id, code, text) in cases {
            let (named, refused) = parse(&line);
            let refusal = refused.expect_err(&line);
            assert_eq!((named, refusal.code), (id, code), "{line}");
            assert!(refusal.text.contains(text), "{text:?} is missing in: {}", refusal.text);
        }
    }
}
