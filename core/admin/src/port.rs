//! The admin port: four-letter words and HTTP on one port, told apart by the first four bytes.
//!
//! A connection asks one thing and is closed. Whatever it sends, and however slowly, costs nobody else anything: what
//! it may send and how long it may take is limited, and answers are made no faster than they are read.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::commands;
use crate::json::Pieces;
use crate::metric::{Sample, mntr, prometheus};
use crate::source::Source;
use crate::system;
use crate::words::{Question, Word};

/// How long the other end may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the other end may take to read one piece of an answer in text.
const PIECE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a request and its answer may take over HTTP.
const HTTP_PATIENCE: Duration = Duration::from_secs(60);
/// How long the other end may take to see the end of a stream.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a request's head, at least 8 KiB.
const MAX_HEAD: usize = 16 << 10;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Why a connection got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It did not say what it wants in time.
    #[error("no question in time")]
    Silent,
    /// Its first bytes are neither a four-letter word nor HTTP.
    #[error("neither a four-letter word nor HTTP")]
    Unknown,
    /// It broke.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
    /// It did not speak proper HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Answers the one question of a connection to the admin port.
///
/// # Errors
/// There was none that could be answered.
pub async fn serve<S: Source + ?Sized>(mut stream: TcpStream, source: Arc<S>) -> Result<(), Unanswered> {
    let mut first = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.map_err(|_| Unanswered::Silent)??;
    if is_method(first) {
        return timeout(HTTP_PATIENCE, http(stream, first, source)).await.map_err(|_| Unanswered::Silent)?;
    }
    let mut question = Question::new(Word::parse(first).ok_or(Unanswered::Unknown)?);
    if question.word == Word::Stmk {
        let mask = timeout(PATIENCE, stream.read_i64()).await.map_err(|_| Unanswered::Silent)??;
        question.argument = Some(mask);
    }
    let answer = question.answer(&source);
    Ok(write(&mut stream, answer).await?)
}

/// Writes an answer to a word, and ends the stream.
///
/// # Errors
/// The other end is gone, or does not read.
pub async fn write(stream: &mut TcpStream, pieces: Pieces) -> std::io::Result<()> {
    for piece in pieces {
        timeout(PIECE_PATIENCE, stream.write_all(piece.as_bytes()))
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)??;
        // The next piece may take a while to make.
        tokio::task::yield_now().await;
    }
    // Closing with unread bytes would reset the connection and lose the answer.
    let ended = async {
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        std::io::Result::Ok(())
    };
    timeout(LINGER, ended).await.ok();
    Ok(())
}

/// Whether an HTTP request may begin so.
const fn is_method(first: [u8; 4]) -> bool {
    matches!(&first, b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"TRAC" | b"CONN" | b"PATC")
}

async fn http<S: Source + ?Sized>(
    stream: TcpStream,
    first: [u8; 4],
    source: Arc<S>,
) -> Result<(), Unanswered> {
    let (reader, writer) = stream.into_split();
    let io = TokioIo::new(tokio::io::join(Cursor::new(first).chain(reader), writer));
    let service = service_fn(|request: Request<Incoming>| {
        let source = Arc::clone(&source);
        async move {
            let (method, uri) = (request.method(), request.uri());
            Ok::<_, Infallible>(match (method, uri.path()) {
                (&Method::POST, "/reload") => reload(source, request.headers()).await,
                (method, path) => respond(method, path, uri.query(), &source),
            })
        }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(MAX_HEAD).timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    Ok(server.serve_connection(io, service).await?)
}

/// Lets the server read its settings again. That changes nothing that is not in its files, so it may be asked by whoever
/// reaches this port; but not by a page of the Web in the browser of somebody who does.
async fn reload<S: Source + ?Sized>(source: Arc<S>, headers: &HeaderMap) -> Response<Answer> {
    if headers.contains_key(ORIGIN) {
        return response(StatusCode::FORBIDDEN, TEXT, whole("not for browsers\n"));
    }
    let Some(reloading) = source.reload() else {
        let text = "this server reads its settings only when it starts\n";
        return response(StatusCode::NOT_FOUND, TEXT, whole(text));
    };
    match reloading.await {
        Ok(text) => response(StatusCode::OK, TEXT, whole(format!("{text}\n"))),
        Err(text) => response(StatusCode::UNPROCESSABLE_ENTITY, TEXT, whole(format!("{text}\n"))),
    }
}

fn respond<S: Source + ?Sized>(
    method: &Method,
    path: &str,
    query: Option<&str>,
    source: &Arc<S>,
) -> Response<Answer> {
    if method != Method::GET && method != Method::HEAD {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            whole("only GET is answered, and POST /reload\n"),
        );
    }
    let query = query.unwrap_or_default();
    match path {
        "/commands" | "/commands/" => response(StatusCode::OK, HTML, whole(commands::links())),
        "/metrics" => {
            let mut samples = mntr::in_order(source.samples());
            samples.push(Sample::gauge(
                "palisade_serving",
                "Whether requests are served.",
                u8::from(source.is_serving()),
            ));
            samples.extend(system::process());
            response(StatusCode::OK, prometheus::MEDIA_TYPE, whole(prometheus::text(&samples)))
        }
        // Whoever can answer this is alive; whether it is of use is another question.
        "/livez" => response(StatusCode::OK, TEXT, whole("alive\n")),
        "/readyz" => match source.readiness() {
            Ok(()) => response(StatusCode::OK, TEXT, whole("ready\n")),
            Err(reason) => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, whole(format!("not ready: {reason}\n")))
            }
        },
        _ => match path.strip_prefix("/commands/") {
            Some(command) => {
                response(StatusCode::OK, JSON, commands::run(command, &arguments(query), source))
            }
            None => match source.page(path, query) {
                Some(page) => response(StatusCode::OK, JSON, whole(format!("{page}\n"))),
                None => response(
                    StatusCode::NOT_FOUND,
                    TEXT,
                    whole("not here; see /commands, /metrics, /livez, /readyz\n"),
                ),
            },
        },
    }
}

/// The fields of a query, which need no decoding here: they are numbers.
fn arguments(query: &str) -> HashMap<String, String> {
    let fields = query.split('&').filter_map(|field| field.split_once('='));
    fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn whole(text: impl Into<String>) -> Pieces {
    Box::new(std::iter::once(text.into()))
}

fn response(status: StatusCode, media_type: &'static str, pieces: Pieces) -> Response<Answer> {
    let mut response = Response::new(Answer { pieces, rested: true });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The body of a response, made piece by piece; other tasks get a chance in between.
struct Answer {
    pieces: Pieces,
    rested: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !std::mem::replace(&mut self.rested, false) {
            self.rested = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // An empty piece would end a chunked body.
        let piece = self.pieces.find(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}
