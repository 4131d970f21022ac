//! Probes a unit once: every part of its `healthcheck` but `log`, which the log pump answers.
//!
//! Says what it found, never what follows from it: retries and start periods are the supervisor's.

mod file;
mod grpc;
mod http;
mod tcp;
mod tls;

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::base::duration;
use crate::model::health::HealthCheck;
use crate::model::process::{fill_port, fill_replica};
use crate::supervisor::event::ProbeResult;
use crate::world::clock;

/// What `ps` and `why` can show of a probe.
const OUTPUT_LIMIT: usize = 4096;
/// What a `test` gets when the parts before it have taken all the time there was: none would mean the default.
const LEAST: Duration = Duration::from_millis(1);

/// Runs Compose's `test` inside the unit: its output when it ended with 0, else what went wrong. It may take so long, and has an
/// answer only when nothing of what it has started is left: the next probe must not run beside it.
pub type RunTest = Box<dyn Fn(&[String], Duration) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Whether every listener on a port of this host belongs to the unit that is probed; else one sentence fragment, as
/// `port 8081 is answered by pid 123 (python), which this service did not start`.
pub type PortsOwned = Box<dyn Fn(u16) -> Result<(), String> + Send + Sync>;

/// What a probe needs of the unit it is for.
#[derive(Default)]
pub struct ProbeContext {
    /// The unit's number, for the `${REPLICA}` of its texts.
    pub replica: u32,
    /// For a unit behind a proxy: the port that is held for it, and that of its present life, which is the one that is probed.
    pub proxied: Option<(u16, u16)>,
    /// For a life beside another: what is older than this is not its own.
    pub newer_than: Option<SystemTime>,
    /// Runs `test`; none where nothing can be run.
    pub test: Option<RunTest>,
    /// Asked after a connection to a port of this host; none where it cannot be known.
    pub ports_owned: Option<PortsOwned>,
}

impl fmt::Debug for ProbeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeContext")
            .field("test", &self.test.is_some())
            .field("ports_owned", &self.ports_owned.is_some())
            .finish()
    }
}

impl ProbeContext {
    /// The port that a probe of this one connects to.
    fn port(&self, host: &str, port: u16) -> u16 {
        match self.proxied {
            Some((public, own)) if port == public && is_this_host(host) => own,
            Some(_) | None => port,
        }
    }

    /// Whether what answered on this port may count.
    fn owns(&self, host: &str, port: u16) -> Result<(), String> {
        match &self.ports_owned {
            Some(ports_owned) if is_this_host(host) => ports_owned(port),
            Some(_) | None => Ok(()),
        }
    }
}

/// Runs all parts of a check but `log`, cheapest first, within its timeout. The first that fails decides.
pub async fn check(check: &HealthCheck, cx: &ProbeContext) -> ProbeResult {
    let check = &of_replica(check, cx);
    let limit = check.timeout();
    let deadline = clock::deadline(limit);
    let mut expiry = pin!(sleep(limit));
    let mut found = Vec::new();
    for (name, part) in parts(check, cx, deadline) {
        let result = match part {
            Part::Ours(part) => tokio::select! {
                biased;
                result = part => result,
                () = &mut expiry => Err(format!("{name} did not answer within {}", duration::format(limit))),
            },
            Part::Test(part) => part.await,
        };
        match result {
            Ok(output) => found.push(output),
            Err(output) => return ProbeResult { healthy: false, output: shortened(output) },
        }
    }
    found.retain(|output| !output.is_empty());
    ProbeResult { healthy: true, output: shortened(found.join("\n")) }
}

/// One part of a check.
enum Part<'a> {
    /// A connection or a look, which is let go when it takes too long.
    Ours(BoxFuture<'a, Result<String, String>>),
    /// A command, which sees to that itself.
    Test(BoxFuture<'a, Result<String, String>>),
}

/// The parts with their names, none of them begun.
fn parts<'a>(check: &'a HealthCheck, cx: &'a ProbeContext, deadline: Instant) -> Vec<(String, Part<'a>)> {
    let mut parts: Vec<(String, Part<'a>)> = Vec::new();
    if let Some(path) = &check.file {
        parts.push((path.clone(), Part::Ours(Box::pin(file::check(path, cx.newer_than)))));
    }
    if let Some(address) = &check.tcp {
        parts.push((address.clone(), Part::Ours(Box::pin(tcp::check(address, cx)))));
    }
    if let Some(probe) = &check.http {
        parts.push((probe.url.clone(), Part::Ours(Box::pin(http::check(probe, cx)))));
    }
    if let Some(probe) = &check.grpc {
        parts.push((probe.address.clone(), Part::Ours(Box::pin(grpc::check(probe, cx)))));
    }
    if check.has_test() {
        let test: BoxFuture<'a, _> = match &cx.test {
            Some(test) => Box::pin(async move { test(&check.test, clock::until(deadline).max(LEAST)).await }),
            None => Box::pin(std::future::ready(Err("its `test` cannot be run here".to_owned()))),
        };
        parts.push(("its `test`".to_owned(), Part::Test(test)));
    }
    parts
}

/// The check of one replica, and of its present life.
fn of_replica(check: &HealthCheck, cx: &ProbeContext) -> HealthCheck {
    let mut check = check.clone();
    // Its shell knows `$PORT`.
    check.test.iter_mut().for_each(|text| *text = fill_replica(text, cx.replica).into_owned());
    let fill = |text: &mut String| {
        let filled = fill_replica(text, cx.replica);
        *text = cx.proxied.map_or(filled.to_string(), |(_, own)| fill_port(&filled, own).into_owned());
    };
    check.file.iter_mut().chain(&mut check.tcp).for_each(fill);
    if let Some(http) = &mut check.http {
        fill(&mut http.url);
        http.headers.values_mut().for_each(fill);
    }
    if let Some(grpc) = &mut check.grpc {
        fill(&mut grpc.address);
        fill(&mut grpc.service);
    }
    check
}

/// Whether a connection to this host can only be answered by a program of ours.
fn is_this_host(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// The end of a long output: that is where programs say why they failed.
fn shortened(output: String) -> String {
    let Some(mut start) = output.len().checked_sub(OUTPUT_LIMIT) else { return output };
    while !output.is_char_boundary(start) {
        start += 1;
    }
    output[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::health::HttpProbe;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Answers every request with this, and hands back the first.
    async fn serve(listener: TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    }

    fn http(port: u16, status: &[u16]) -> HealthCheck {
        let headers = [("X-Who".to_owned(), "me".to_owned())].into_iter().collect();
        let probe = HttpProbe {
            url: format!("http://127.0.0.1:{port}/live?x=1"),
            method: Some("HEAD".to_owned()),
            headers,
            status: status.to_vec(),
            body: None,
        };
        HealthCheck { http: Some(probe), timeout: Some(Duration::from_secs(20)), ..HealthCheck::default() }
    }

    #[test]
    fn an_http_probe_judges_the_status() {
        for (answer, status, healthy, output) in [
            ("200 OK", &[][..], true, "answered 200"),
            ("302 Found", &[], true, "answered 302"),
            ("500 Oops", &[], false, "answered 500"),
            ("404 No", &[404], true, "answered 404"),
            ("200 OK", &[404], false, "answered 200, not 404"),
        ] {
            run(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                let cx = ProbeContext::default();
                let check_of = http(port, status);
                let (request, result) = tokio::join!(serve(listener, &answer), check(&check_of, &cx));
                let expected = format!("http://127.0.0.1:{port}/live?x=1 {output}");
                assert_eq!(result, ProbeResult { healthy, output: expected });
                let request = request.to_ascii_lowercase();
                assert!(request.starts_with("head /live?x=1 http/1.1\r\n"), "{request}");
                assert!(request.contains("\r\nx-who: me\r\n") && request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")));
            });
        }
    }

    #[test]
    fn an_http_probe_may_want_a_body() {
        for (body, pattern, output) in [
            ("status: green", "^status: (green|yellow)$", Ok("answered 200")),
            ("status: red", "green", Err("answered 200, and no part of its body matches `green`")),
        ] {
            run(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let mut check_of = http(port, &[]);
                let probe = check_of.http.as_mut().unwrap();
                (probe.method, probe.body) = (None, Some(pattern.to_owned()));
                let cx = ProbeContext::default();
                let (_, result) = tokio::join!(serve(listener, &answer), check(&check_of, &cx));
                let (healthy, words) = (output.is_ok(), output.unwrap_or_else(|words| words));
                let expected = format!("http://127.0.0.1:{port}/live?x=1 {words}");
                assert_eq!(result, ProbeResult { healthy, output: expected });
            });
        }
    }

    #[test]
    fn a_test_gets_what_the_parts_before_it_have_left_and_is_waited_for() {
        run(async {
            const SLOW: Duration = Duration::from_millis(50);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut both = http(listener.local_addr().unwrap().port(), &[]);
            (both.test, both.timeout) = (vec!["CMD".to_owned(), "x".to_owned()], Some(Duration::from_millis(500)));
            let given = std::sync::Arc::new(std::sync::Mutex::new(None));
            let seen = std::sync::Arc::clone(&given);
            // One that is killed at its limit, and takes a while to be gone.
            let test: RunTest = Box::new(move |_, limit| {
                *seen.lock().unwrap() = Some(limit);
                async move {
                    sleep(limit + SLOW).await;
                    Err("no answer".to_owned())
                }
                .boxed()
            });
            let cx = ProbeContext { test: Some(test), ..ProbeContext::default() };
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1];
                stream.read_exact(&mut request).await.unwrap();
                sleep(SLOW).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                stream
            };
            let (_open, result) = tokio::join!(server, check(&both, &cx));
            assert_eq!(result.output, "no answer");
            let given = given.lock().unwrap().unwrap();
            assert!(given <= Duration::from_millis(450), "{given:?}");
        });
    }

    #[test]
    fn a_port_that_a_stranger_answers_is_not_healthy() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let cx = ProbeContext {
                ports_owned: Some(Box::new(|port| Err(format!("port {port} is a stranger's")))),
                ..ProbeContext::default()
            };
            let tcp = HealthCheck { tcp: Some(format!("localhost:{port}")), ..HealthCheck::default() };
            let stranger = ProbeResult { healthy: false, output: format!("port {port} is a stranger's") };
            assert_eq!(check(&tcp, &cx).await, stranger);
            assert_eq!(check(&http(port, &[]), &cx).await, stranger);
            assert!(check(&tcp, &ProbeContext::default()).await.healthy);
            // Bound and not listening: nobody else can be given the number meanwhile.
            let silent = tokio::net::TcpSocket::new_v4().unwrap();
            silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let port = silent.local_addr().unwrap().port();
            let tcp = HealthCheck { tcp: Some(format!("localhost:{port}")), ..HealthCheck::default() };
            let refused = check(&tcp, &cx).await;
            assert_eq!(refused.output, format!("connection refused by localhost:{port}"));
        });
    }

    #[test]
    fn all_parts_must_hold_and_none_may_take_too_long() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut slow = http(port, &[]);
            slow.timeout = Some(Duration::from_millis(20));
            let output = check(&slow, &ProbeContext::default()).await.output;
            assert_eq!(output, format!("http://127.0.0.1:{port}/live?x=1 did not answer within 20ms"));

            let ran = |result: Result<&str, &str>| {
                let result = result.map(str::to_owned).map_err(str::to_owned);
                ProbeContext {
                    test: Some(Box::new(move |_, _| std::future::ready(result.clone()).boxed())),
                    ..ProbeContext::default()
                }
            };
            let both = HealthCheck {
                file: Some("/".to_owned()),
                test: vec!["CMD".to_owned(), "x".to_owned()],
                ..HealthCheck::default()
            };
            assert_eq!(check(&both, &ran(Ok("fine"))).await, ProbeResult { healthy: true, output: "fine".to_owned() });
            assert_eq!(check(&both, &ran(Err("broken"))).await.output, "broken");
            let missing = HealthCheck { file: Some("/nonexistent/file".to_owned()), ..both };
            assert_eq!(check(&missing, &ran(Ok("fine"))).await.output, "/nonexistent/file does not exist");
        });
    }

    #[test]
    fn a_long_output_keeps_its_end() {
        assert_eq!(shortened("é".repeat(3000)).len(), 4096);
        assert!(shortened(format!("{}end", "x".repeat(5000))).ends_with("end"));
    }
}
