//! `pointsman healthcheck`: whether the process answers, for containers without a shell or curl.
//!
//! One plain HTTP/1.1 request over one connection. It asks `/livez`, which never depends on backends:
//! an orchestrator that restarts the gateway for a backend's fault would take down control as well.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;

/// How long one step may take: connecting, sending, the answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of a status line.
const MAX_STATUS_LINE: u64 = 1_024;

/// Where probes are answered unless the file says otherwise.
const DEFAULT_OBSERVE: &str = "http://127.0.0.1:9902";

/// The page that is asked for.
const PAGE: &str = "/livez";

/// Arguments of `healthcheck`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the gateway answers probes.
    #[arg(long, value_name = "URL", default_value = DEFAULT_OBSERVE, env = "POINTSMAN_OBSERVE_URL")]
    pub observe: Uri,
}

/// Asks. Exit code 0: it answers with 200.
///
/// # Errors
/// If it does not.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let authority = args.observe.authority().context("the URL has no host")?;
    if args.observe.scheme_str() != Some("http") {
        bail!("{} does not begin with http://", args.observe);
    }
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let status = ask(host, port, authority.as_str()).with_context(|| format!("{authority} does not answer"))?;
    let code = status.split_ascii_whitespace().nth(1);
    if code != Some("200") {
        bail!("{authority} answered {PAGE} with {:?}", status.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// The status line of the answer.
fn ask(host: &str, port: u16, authority: &str) -> io::Result<String> {
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(mut socket) => {
                socket.set_read_timeout(Some(TIMEOUT))?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                // In one piece: who answers early may have closed before a second one.
                let request = format!("GET {PAGE} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
                socket.write_all(request.as_bytes())?;
                let mut line = String::new();
                BufReader::new(socket).take(MAX_STATUS_LINE).read_line(&mut line)?;
                return Ok(line);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with a text, or leaves.
    fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // All of it is read, since closing on unread bytes resets the connection.
            let lines = BufReader::new(&socket).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let asked = head.first().is_some_and(|line| line.starts_with("GET /livez "));
            let answer = if asked { answer } else { "HTTP/1.1 404 Not Found\r\n\r\n" };
            socket.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    fn check(url: &str) -> Result<(), String> {
        run(&Args { observe: url.parse().unwrap() }).map(drop).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn rows() {
        let rows = [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("200", false),
            ("", false),
        ];
        for (answer, healthy) in rows {
            let found = check(&format!("http://127.0.0.1:{}", answering(answer)));
            assert_eq!(found.is_ok(), healthy, "{answer:?}: {found:?}");
        }
    }

    #[test]
    fn nobody_there_and_what_is_no_url() {
        // Bound but not listening: nobody answers, and nobody else can take the port meanwhile.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        assert!(check(&format!("http://127.0.0.1:{port}")).unwrap_err().contains("does not answer"));
        assert!(check("https://127.0.0.1:1").unwrap_err().contains("http://"));
        assert!(check("/livez").unwrap_err().contains("no host"));
    }
}
