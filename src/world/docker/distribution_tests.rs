//! A registry that answers what a test says, and proxies before it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use super::*;

#[test]
fn a_reference_is_taken_apart_or_refused_in_words() {
    let parsed = |text: &str| {
        let Reference { registry, path, tag, digest } = Reference::parse(text).map_err(|fault| fault.message)?;
        Ok::<_, String>(format!("{registry} {path} {} {}", tag.unwrap_or_default(), digest.unwrap_or_default()))
    };
    let digest = format!("sha256:{}", "0a".repeat(32));
    assert_eq!(parsed("redis").unwrap(), "docker.io library/redis latest ");
    assert_eq!(parsed("localhost:5000/a/b:1").unwrap(), "localhost:5000 a/b 1 ");
    assert_eq!(parsed(&format!("x.org/a@{digest}")).unwrap(), format!("x.org a  {digest}"));
    for (wrong, why) in
        [("x.org/A", "small letters"), ("x.org/a:b c", "tags"), ("x.org/a@sha256:00", "64"), ("x.org/../a", "small")]
    {
        assert!(parsed(wrong).unwrap_err().contains(why), "{wrong}");
    }
}

#[test]
fn what_a_registry_wants_to_be_shown_is_read() {
    let text = r#"realm="https://auth.docker.io/token",service="registry.docker.io", scope="repository:a/b:pull,push",error=x"#;
    let found = parameters(text);
    let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let scope = "repository:a/b:pull,push";
    let realm = "https://auth.docker.io/token";
    assert_eq!(found, [("realm", realm), ("service", "registry.docker.io"), ("scope", scope), ("error", "x")]);
    assert_eq!(query(found[2..].iter()), "scope=repository%3Aa%2Fb%3Apull%2Cpush&error=x");
}

#[test]
fn registries_of_this_host_need_no_tls() {
    for (host, expected) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("127.8.0.1", true),
        ("[::1]", true),
        ("registry", false),
        ("127.0.0.1.example.com", false),
        ("127.evil", false),
    ] {
        assert_eq!(is_of_this_host(host), expected, "{host}");
    }
}

/// A server that gives these answers, one connection each, and the heads of what it was asked.
struct Server {
    address: String,
    asked: mpsc::Receiver<String>,
}

impl Server {
    fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, asked) = mpsc::channel();
        // It lasts for as long as there is an answer left, at most as long as the tests.
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                let _ = sender.send(String::from_utf8(head).unwrap());
                let _ = stream.write_all(answer.as_bytes());
                // Until the other end has had enough.
                let _ = stream.read(&mut byte);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers = [&[status], headers].concat().join("\r\n");
    format!("HTTP/1.1 {headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn repository(registry: &str, scheme: Scheme) -> Repository {
    let credentials =
        DockerCredentials { username: Some("me".to_owned()), password: Some("word".to_owned()), ..Default::default() };
    Repository {
        registry: registry.to_owned(),
        path: "a".to_owned(),
        credentials: Some(credentials),
        scheme: Mutex::new(Some(scheme)),
        authorization: Mutex::default(),
        proxies: WebProxies::default(),
        patience: Duration::from_secs(30),
    }
}

fn by_itself<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

const SECRET: &str = "bWU6d29yZA==";

#[test]
fn nobody_but_the_registry_itself_is_shown_who_we_are() {
    let foreign = Server::answering(vec![answer("401 Unauthorized", &["WWW-Authenticate: Basic realm=x"], "")]);
    let there = format!("Location: http://{}/there", foreign.address);
    let own = Server::answering(vec![
        answer("401 Unauthorized", &["WWW-Authenticate: Basic realm=x"], ""),
        answer("307 Temporary Redirect", &[&there], ""),
    ]);
    let repository = repository(&own.address, Scheme::Http);
    let digest = digest_of(b"x");
    let fault = by_itself(repository.blob(&digest, 1)).unwrap_err();
    assert!(fault.message.contains("401"), "{}", fault.message);
    let asked = own.asked();
    assert!(asked.len() == 2 && asked[1].contains(SECRET), "{asked:?}");
    let asked = foreign.asked();
    assert!(asked.len() == 1 && !asked[0].to_ascii_lowercase().contains("authorization"), "{asked:?}");
    assert!(asked[0].starts_with("GET /there "), "{asked:?}");
}

#[test]
fn a_registry_with_tls_leads_nobody_to_a_place_without() {
    let plain = Server::answering(vec![answer("200 OK", &[], r#"{"token": "t"}"#)]);
    let repository = repository("registry.invalid", Scheme::Https);
    let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, plain.address);
    let fault = by_itself(repository.show(&challenge)).unwrap_err();
    assert!(fault.message.contains("without TLS"), "{}", fault.message);
    assert_eq!(plain.asked(), [""; 0]);
    let own = repository.address("/v2/", None).unwrap();
    for (location, leads) in
        [("http://registry.invalid/x", false), ("http://other/x", false), ("https://other/x", true), ("//other/x", true)]
    {
        assert_eq!(repository.address(location, Some(&own)).is_ok(), leads, "{location}");
    }
    // The same name is another place with another port or another way to speak.
    for (address, is_own) in [
        ("https://registry.invalid/x", true),
        ("https://REGISTRY.invalid:443/x", true),
        ("https://me@registry.invalid/x", true),
        ("https://registry.invalid:80/x", false),
        ("https://registry.invalid.org/x", false),
    ] {
        assert_eq!(repository.is_own(&repository.address(address, None).unwrap()), is_own, "{address}");
    }
    let plain = super::tests::repository("registry.invalid", Scheme::Http);
    assert!(!plain.is_own(&plain.address("https://registry.invalid/x", None).unwrap()));
}

#[test]
fn whoever_reads_is_led_on_from_the_last_place_and_not_in_circles() {
    let storage = Server::answering(vec![
        answer("302 Found", &["Location: next?x=1"], ""),
        answer("200 OK", &["Content-Type: application/json"], r#"{"layers": []}"#),
    ]);
    let there = format!("Location: http://{}/deep/first", storage.address);
    let own = Server::answering(vec![answer("307 Temporary Redirect", &[&there], "")]);
    let manifest = by_itself(repository(&own.address, Scheme::Http).manifest_of("1")).unwrap();
    assert!(manifest.value.get("layers").is_some());
    let asked = storage.asked();
    assert!(asked[1].starts_with("GET /deep/next?x=1 "), "{asked:?}");
    let round = Server::answering(vec![answer("302 Found", &["Location: /again"], ""); MAX_REDIRECTIONS + 1]);
    let fault = by_itself(repository(&round.address, Scheme::Http).manifest_of("1")).unwrap_err();
    assert!(fault.message.contains("without an end"), "{}", fault.message);
}

#[test]
fn a_blob_counts_as_there_only_where_it_was_seen() {
    for (second, expected) in [("200 OK", true), ("403 Forbidden", false), ("404 Not Found", false)] {
        let own = Server::answering(vec![
            answer("307 Temporary Redirect", &["Location: /storage"], ""),
            format!("HTTP/1.1 {second}\r\nContent-Length: 0\r\n\r\n"),
        ]);
        let found = by_itself(repository(&own.address, Scheme::Http).has_blob(&digest_of(b"x"))).unwrap();
        assert_eq!(found, expected, "{second}");
    }
}

#[test]
fn a_registry_that_falls_silent_is_not_waited_for_without_an_end() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{";
    for answer in ["", begun] {
        let silent = Server::answering(vec![answer.to_owned()]);
        let repository = Repository { patience: Duration::from_millis(300), ..repository(&silent.address, Scheme::Http) };
        let fault = by_itself(repository.manifest_of("1")).unwrap_err();
        assert!(fault.message.contains(&silent.address), "{}", fault.message);
    }
}

/// What is asked of a registry that is nowhere, through this proxy for both schemes.
fn through(proxy: &Server, scheme: Scheme) -> Repository {
    let environment = ["http_proxy", "HTTPS_PROXY"].map(|name| (name.to_owned(), format!("http://me:word@{}", proxy.address)));
    Repository { proxies: WebProxies::of(&environment.into()), ..repository("r.invalid:5000", scheme) }
}

#[test]
fn a_proxy_is_asked_in_whole_addresses_and_shown_who_we_are_to_it() {
    let proxy = Server::answering(vec![answer("200 OK", &["Content-Type: x"], "{}")]);
    by_itself(through(&proxy, Scheme::Http).manifest_of("1")).unwrap();
    let asked = proxy.asked().concat();
    assert!(asked.starts_with("GET http://r.invalid:5000/v2/a/manifests/1 HTTP/1.1"), "{asked}");
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("host: r.invalid:5000") && asked.contains("proxy-authorization: basic bwu6d29yza=="), "{asked}");
}

#[test]
fn a_proxy_leads_to_a_registry_with_tls_which_begins_behind_it() {
    // What comes after its word is the registry's: here, no TLS.
    let proxy = Server::answering(vec!["HTTP/1.1 200 Connection established\r\n\r\nno TLS at all".to_owned()]);
    let fault = by_itself(through(&proxy, Scheme::Https).manifest_of("1")).unwrap_err();
    let asked = proxy.asked().concat();
    assert!(asked.starts_with("CONNECT r.invalid:5000 HTTP/1.1"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic bwu6d29yza=="), "{asked}");
    assert!(fault.message.contains("`r.invalid:5000` is not to be reached: TLS: "), "{}", fault.message);
}

#[test]
fn a_proxy_that_leads_nowhere_is_told_with_its_variable_and_what_to_do() {
    for (said, words) in [
        ("407 Proxy Authentication Required", &["who asks", "USER:PASSWORD"][..]),
        ("403 Forbidden", &["403", "`r.invalid:5000`", "`NO_PROXY`"]),
    ] {
        let proxy = Server::answering(vec![answer(said, &[], "")]);
        let fault = by_itself(through(&proxy, Scheme::Https).manifest_of("1")).unwrap_err().message;
        let named = format!("the proxy `{}` of `HTTPS_PROXY`", proxy.address);
        assert!(fault.contains(&named) && words.iter().all(|word| fault.contains(word)), "{fault}");
    }
    let environment = [("HTTPS_PROXY".to_owned(), "socks5://x:1".to_owned())];
    let unusable = Repository { proxies: WebProxies::of(&environment.into()), ..repository("r.invalid", Scheme::Https) };
    let fault = by_itself(unusable.manifest_of("1")).unwrap_err();
    assert_eq!(fault.kind, crate::plan::action::FaultKind::Permanent, "{fault}");
}
