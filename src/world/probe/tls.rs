//! TLS for the probes of `https://` addresses and of gRPC servers.
//!
//! The certificate is not verified, as by Kubernetes' probes: a service of a developer's stack has one of its own making, and a probe
//! asks whether the service answers, not whose it is. The rest of the handshake is checked as ever.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The protocol of gRPC, as it is named in a handshake (RFC 9113, 3.1): many servers talk to nobody who does not name it.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Speaks TLS over a connection to this host, about this protocol if one is named.
pub(super) async fn connect(host: &str, stream: TcpStream, protocol: Option<&[u8]>) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
}

/// Takes every certificate, if its owner holds the key to it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{ProbeContext, check};
    use crate::model::health::{HealthCheck, HttpProbe};
    use crate::world::testing_tls::{Clients, serve};

    fn probe(url: String) -> HealthCheck {
        let http = HttpProbe { url, method: None, headers: Default::default(), status: Vec::new(), body: None };
        HealthCheck { http: Some(http), ..HealthCheck::default() }
    }

    #[tokio::test]
    async fn an_https_probe_takes_a_certificate_that_nobody_vouches_for() {
        for (answer, healthy, output) in [("200 OK", true, "answered 200"), ("500 Oops", false, "answered 500")] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            let (check, cx) = (probe(url.clone()), ProbeContext::default());
            tokio::select! {
                () = serve(listener, Clients::Anybody, &answer) => {}
                result = check_of(&check, &cx) => assert_eq!(result, (healthy, format!("{url} {output}"))),
            }
        }
    }

    async fn check_of(probe: &HealthCheck, cx: &ProbeContext) -> (bool, String) {
        let result = check(probe, cx).await;
        (result.healthy, result.output)
    }

    #[tokio::test]
    async fn a_server_without_tls_is_not_healthy_for_an_https_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let plain = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 1];
            stream.read_exact(&mut hello).await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        };
        let (check, cx) = (probe(url.clone()), ProbeContext::default());
        let (_open, (healthy, output)) = tokio::join!(plain, check_of(&check, &cx));
        assert!(!healthy && output.starts_with(&format!("{url} speaks no TLS with us: ")), "{output}");
    }
}
