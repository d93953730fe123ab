//! The demo's judge: a webhook that looks at answers to a question, and at nothing else.
//!
//! A result is to the point when it names a word of the question. Which arm gave an answer, and what the backends say
//! of themselves, does not count.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::serving;

/// Shorter words are in every question and say nothing, in characters.
const SHORTEST_WORD: usize = 4;

/// Starts it on a free loopback port; it ends with the runtime.
///
/// # Errors
/// When the system gives no port.
pub(super) fn start(runtime: &Handle) -> io::Result<SocketAddr> {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let _inside = runtime.enter();
    runtime.spawn(serving::accept(TcpListener::from_std(socket)?, answer));
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await;
    let question = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
    match question.as_ref().and_then(verdict) {
        Some(verdict) => Response::new(Full::from(verdict.to_string())),
        None => {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            refused
        }
    }
}

/// What the judge says of a pair, or of one answer; `None` where there is nothing to judge.
fn verdict(question: &Value) -> Option<Value> {
    let Some(pair) = question.get("pair") else {
        return Some(json!({ "scores": { "relevance": relevance(question.get("exchange")?)? } }));
    };
    let (control, candidate) = (relevance(pair.get("control")?)?, relevance(pair.get("candidate")?)?);
    let preference = if candidate > control {
        "candidate"
    } else if control > candidate {
        "control"
    } else {
        "tie"
    };
    let scores = json!({ "control": { "relevance": control }, "candidate": { "relevance": candidate } });
    Some(json!({ "preference": preference, "scores": scores }))
}

/// The share of the results that are to the point, from 0 to 1.
fn relevance(parts: &Value) -> Option<f64> {
    let (query, results) = (parts.get("query")?.as_str()?.to_lowercase(), parts.get("results")?.as_array()?);
    let words = query.split(|letter: char| !letter.is_alphanumeric());
    let words: Vec<&str> = words.filter(|word| word.chars().count() >= SHORTEST_WORD).collect();
    let texts = results.iter().filter_map(|result| Some(result.as_str()?.to_lowercase()));
    let hits = texts.filter(|text| words.iter().any(|word| text.contains(word))).count();
    (!results.is_empty()).then(|| hits as f64 / results.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_with_more_to_the_point_wins_whoever_gave_it() {
        let (good, bad) = (json!(["About refunds, 1", "REFUND form"]), json!(["About refunds, 1", "Untitled page 2"]));
        let pair = |control: &Value, candidate: &Value| {
            let part = |results: &Value| json!({ "query": "a refund, please", "results": results });
            verdict(&json!({ "pair": { "control": part(control), "candidate": part(candidate) } })).unwrap()
        };
        for (control, candidate, preferred, scores) in [
            (&bad, &good, "candidate", [0.5, 1.0]),
            (&good, &bad, "control", [1.0, 0.5]),
            (&bad, &bad, "tie", [0.5, 0.5]),
        ] {
            let found = pair(control, candidate);
            assert_eq!(found["preference"], preferred);
            assert_eq!(
                ["control", "candidate"].map(|arm| &found["scores"][arm]["relevance"]),
                scores.map(|s| json!(s)).each_ref()
            );
        }
    }

    #[test]
    fn one_answer_is_scored_and_what_is_none_is_refused() {
        let exchange = |parts: Value| verdict(&json!({ "exchange": parts }));
        let scored = exchange(json!({ "query": "refund", "results": ["a refund", "x", "y", "z"] }));
        assert_eq!(scored, Some(json!({ "scores": { "relevance": 0.25 } })));
        for parts in [json!({ "query": null, "results": [] }), json!({ "query": "refund" }), json!(1)] {
            assert_eq!(exchange(parts.clone()), None, "{parts}");
        }
        assert_eq!(verdict(&json!({ "pair": {} })), None);
    }
}
