//! HTTP/1.1 messages as bytes: reading one from a socket, exactly as it came.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

/// A start line and fields, as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that must not stand twice.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times: {all:?}", all.len());
        all.first().copied()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap_or((line, "")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { start, fields }
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As its framing announced.
    Whole,
    /// With the connection, as framing without a length allows.
    Close,
    /// Before its framing was done.
    Truncated,
}

/// A socket with what was read ahead from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) const fn new(socket: TcpStream) -> Self {
        Self { socket, ahead: Vec::new() }
    }

    /// Reads more; `false` at the end of the stream, a reset included.
    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.ahead.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Whether the other side has closed, with nothing more to read. Waits for it.
    pub(crate) fn is_closed(&mut self) -> io::Result<bool> {
        Ok(self.ahead.is_empty() && !self.more()?)
    }

    /// What has come and was not read yet, at least one byte; empty at the end of the stream.
    pub(crate) fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.more()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// The next head; `None` at the end of the stream.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let bytes: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return Ok(Some(Head::parse(&bytes)));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let bytes: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Exactly so many bytes, or fewer at the end of the stream.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count && self.more()? {}
        let count = count.min(self.ahead.len());
        Ok(self.ahead.drain(..count).collect())
    }

    /// One chunk of a chunked body; empty for the last, `None` where the stream ended first.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let digits = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("no chunk size: {line:?}")));
        };
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        let data = self.exactly(size)?;
        if data.len() < size {
            self.ahead = data;
            return Ok(None);
        }
        self.exactly(2)?;
        Ok(Some(data))
    }

    /// A chunked body with its trailers.
    pub(crate) fn chunked(&mut self) -> io::Result<(Vec<u8>, Head, Ending)> {
        let mut body = Vec::new();
        loop {
            match self.chunk()? {
                None => {
                    body.append(&mut self.ahead);
                    return Ok((body, Head::default(), Ending::Truncated));
                }
                Some(chunk) if chunk.is_empty() => break,
                Some(chunk) => body.extend_from_slice(&chunk),
            }
        }
        let mut trailers = String::from("\r\n");
        loop {
            match self.line()? {
                None => return Ok((body, Head::default(), Ending::Truncated)),
                Some(line) if line.is_empty() => return Ok((body, Head::parse(trailers.as_bytes()), Ending::Whole)),
                Some(line) => trailers.push_str(&format!("{line}\r\n")),
            }
        }
    }

    /// A body as its head frames it. `open_ended`: without any framing it lasts until the close.
    pub(crate) fn body(&mut self, head: &Head, open_ended: bool) -> io::Result<(Vec<u8>, Head, Ending)> {
        if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunked();
        }
        if let Some(length) = head.get("content-length") {
            let length = length.parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "content-length"))?;
            let body = self.exactly(length)?;
            let ending = if body.len() == length { Ending::Whole } else { Ending::Truncated };
            return Ok((body, Head::default(), ending));
        }
        if open_ended {
            return Ok((self.rest()?, Head::default(), Ending::Close));
        }
        Ok((Vec::new(), Head::default(), Ending::Whole))
    }
}
