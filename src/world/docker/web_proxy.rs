//! The proxies between this host and the registries that we speak to ourselves: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the caller,
//! in capitals or small letters, read as Docker reads them (Go's `net/http`, `ProxyFromEnvironment`).
//!
//! What an engine pulls goes the engine's way, and what git fetches git's.

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use indexmap::IndexMap;

use super::distribution::is_of_this_host;

/// What the caller says of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WebProxies {
    http: Option<Said>,
    https: Option<Said>,
    /// Who is spoken to without one.
    no: String,
}

/// A variable that is set, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    variable: String,
    value: String,
}

/// A proxy through which something is asked.
#[derive(Debug, Clone)]
pub(super) struct WebProxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// It is itself spoken to by TLS.
    pub(super) tls: bool,
    /// Who we are to it.
    pub(super) authorization: Option<HeaderValue>,
    /// The variable that names it.
    variable: String,
}

impl std::fmt::Display for WebProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, variable, .. } = self;
        write!(f, "the proxy `{host}:{port}` of `{variable}`")
    }
}

impl WebProxies {
    /// What these variables say.
    pub(super) fn of(environment: &IndexMap<String, String>) -> Self {
        let said = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names.into_iter().find_map(|variable| {
                let value = environment.get(&variable).filter(|value| !value.is_empty())?.clone();
                Some(Said { variable, value })
            })
        };
        // Of a web server's script the client could set it, by a header `Proxy:`.
        let http = said("HTTP_PROXY").filter(|said| said.variable != "HTTP_PROXY" || !environment.contains_key("REQUEST_METHOD"));
        Self { http, https: said("HTTPS_PROXY"), no: said("NO_PROXY").map(|said| said.value).unwrap_or_default() }
    }

    /// The proxy through which a server is asked; none where it is asked itself, as this host always is.
    pub(super) fn between(&self, tls: bool, host: &str, port: u16) -> Result<Option<WebProxy>, String> {
        let said = if tls { &self.https } else { &self.http };
        let Some(Said { variable, value }) = said else { return Ok(None) };
        let scheme = if tls { "https" } else { "http" };
        let Ok(address) = format!("{scheme}://{host}:{port}/").parse::<Uri>() else { return Ok(None) };
        if is_of_this_host(host) || self.is_asked_itself(&address, port) {
            return Ok(None);
        }
        let wrong = |why: &str| format!("`{variable}` {why}: write `http://[USER:PASSWORD@]HOST[:PORT]`");
        let through = Matcher::builder().all(value.clone()).build().intercept(&address);
        let through = through.ok_or_else(|| wrong("is no address of a proxy"))?;
        WebProxy::of(&through, variable).ok_or_else(|| wrong("names a proxy that is none of the web")).map(Some)
    }

    /// Whether `NO_PROXY` names a server. An entry may have a port, and holds then for that alone.
    fn is_asked_itself(&self, address: &Uri, port: u16) -> bool {
        let is_address = |entry: &str| entry.parse::<std::net::Ipv6Addr>().is_ok();
        let of_this_port = self.no.split(',').map(str::trim).filter_map(|entry| match entry.rsplit_once(':') {
            Some((host, said)) if !is_address(entry) && said.bytes().all(|byte| byte.is_ascii_digit()) => {
                (said.parse() == Ok(port)).then(|| host.trim_matches(['[', ']']))
            }
            Some(_) | None => Some(entry),
        });
        let no = of_this_port.collect::<Vec<_>>().join(",");
        Matcher::builder().all("http://proxy").no(no).build().intercept(address).is_none()
    }
}

impl WebProxy {
    fn of(through: &Intercept, variable: &str) -> Option<Self> {
        let tls = match through.uri().scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = through.uri().authority()?;
        Some(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            authorization: through.basic_auth().cloned(),
            variable: variable.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> WebProxies {
        WebProxies::of(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn who_is_asked_through_which_proxy() {
        let both = [("HTTP_PROXY", "http://plain:3128"), ("https_proxy", "secure")];
        let with = |no: &'static str| [&both[..], &[("NO_PROXY", no)]].concat();
        for (said, tls, host, port, expected) in [
            (vec![], true, "r.example", 443, None),
            (both.to_vec(), true, "r.example", 443, Some("secure:80")),
            (both.to_vec(), false, "r.example", 80, Some("plain:3128")),
            (both.to_vec(), true, "localhost", 5000, None),
            (both.to_vec(), false, "127.0.0.1", 5000, None),
            (with("r.example"), true, "r.example", 443, None),
            (with("other, .example"), true, "r.example", 443, None),
            (with("r.example:5000"), true, "r.example", 443, Some("secure:80")),
            (with("r.example:5000"), true, "r.example", 5000, None),
            (with("10.0.0.0/8"), true, "10.1.2.3", 5000, None),
            (with("*"), true, "r.example", 443, None),
            (vec![("HTTP_PROXY", "a"), ("http_proxy", "b"), ("REQUEST_METHOD", "GET")], false, "r.example", 80, None),
            (vec![("HTTPS_PROXY", ""), ("https_proxy", "https://x")], true, "r.example", 443, Some("x:443")),
        ] {
            let found = of(&said).between(tls, host, port).unwrap();
            let found = found.map(|proxy| format!("{}:{}", proxy.host, proxy.port));
            assert_eq!(found.as_deref(), expected, "{said:?} {host}:{port}");
        }
        let known = of(&[("HTTPS_PROXY", "http://me:wo%20rd@p:1")]).between(true, "r.example", 443).unwrap().unwrap();
        assert_eq!(known.authorization.unwrap(), "Basic bWU6d28gcmQ=");
    }

    #[test]
    fn what_is_no_proxy_is_told_by_its_variable() {
        for (value, why) in [("socks5://p:1", "none of the web"), ("http://", "no address of a proxy"), ("a b", "no address")] {
            let told = of(&[("https_proxy", value)]).between(true, "r.example", 443).unwrap_err();
            assert!(told.contains("`https_proxy`") && told.contains(why) && told.contains("write `http://"), "{value}: {told}");
        }
    }
}
