//! A small TLS server for tests, with the throw-away key of `tests/tls`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Where the three files are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls")
}

/// Whether a server wants to see its clients' certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    Anybody,
    Known,
}

/// Answers each request with this, for as long as the listener lives.
pub(crate) async fn serve(listener: TcpListener, clients: Clients, answer: &str) {
    let acceptor = acceptor(clients, &[]);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // Whoever does not like us, or is not liked, is gone.
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut request = vec![0; 4096];
        if matches!(stream.read(&mut request).await, Ok(1..)) {
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    }
}

/// The server's side of handshakes, with those who name one of these protocols if there are any.
pub(crate) fn acceptor(clients: Clients, protocols: &[&[u8]]) -> TlsAcceptor {
    let file = |name: &str| directory().join(name);
    let certificate = |name| CertificateDer::from_pem_file(file(name)).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        Clients::Anybody => config.with_no_client_auth(),
        Clients::Known => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate("ca.pem")).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let mut config = config.with_single_cert(vec![certificate("cert.pem")], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
