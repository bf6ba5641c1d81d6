//! Answers of the control vocabulary: one JSON object to a line (docs/CONTROL.md).

use serde_json::{Map, Value, json};

/// Why a request has no result, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalCode {
    /// The line is no JSON.
    BadJson,
    /// The line is no request.
    BadRequest,
    /// The line is longer than any request.
    TooLong,
    /// Too many requests are under way.
    Busy,
    /// It was carried out, without success.
    Failed,
}

impl RefusalCode {
    /// A stable name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadRequest => "bad_request",
            Self::TooLong => "too_long",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: RefusalCode,
    /// For people.
    pub(super) text: String,
}

impl Refusal {
    /// A request that was carried out without success.
    pub(super) fn failed(error: impl ToString) -> Self {
        Self { code: RefusalCode::Failed, text: error.to_string() }
    }
}

/// The answer to a request with a result.
pub(super) fn done(id: &Value, result: impl Into<Value>) -> Value {
    json!({ "event": "answer", "id": id, "ok": true, "result": result.into() })
}

/// The answer to a request without success.
pub(super) fn refused(id: &Value, refusal: &Refusal) -> Value {
    json!({
        "event": "answer",
        "id": id,
        "ok": false,
        "code": refusal.code.name(),
        "error": refusal.text,
    })
}

/// A step of a request that is under way.
pub(super) fn step(id: &Value, step: Map<String, Value>) -> Value {
    let mut line = step;
    line.insert("event".to_owned(), "step".into());
    line.insert("id".to_owned(), id.clone());
    Value::Object(line)
}
