//! An engine that answers what a test says, at a socket of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;

/// One without anything, by its `Version` and `ApiVersion`; what it says of itself (`/info`) is this, in which
/// `NOW` is the time. Answers with what it is asked.
pub(crate) fn empty_engine(socket: &Path, release: (&str, &str), about: &str) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (all, answers) = (Arc::clone(&asked), answers(release, about));
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| begin(stream, &all, &answers)));
    asked
}

/// The same one, reached over a network.
pub(crate) fn empty_engine_elsewhere(release: (&str, &str)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (all, answers) = (Arc::default(), answers(release, "{}"));
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| begin(stream, &all, &answers)));
    address
}

/// What it says of its release and of itself.
fn answers(release: (&str, &str), about: &str) -> Arc<(String, String)> {
    let version = format!(r#"{{"Version": "{}", "ApiVersion": "{}"}}"#, release.0, release.1);
    Arc::new((version, about.to_owned()))
}

fn begin(stream: impl Read + Write + Send + 'static, asked: &Arc<Mutex<Vec<String>>>, answers: &Arc<(String, String)>) {
    let (asked, answers) = (Arc::clone(asked), Arc::clone(answers));
    thread::spawn(move || serve(stream, &asked, &answers));
}

fn serve(mut stream: impl Read + Write, asked: &Mutex<Vec<String>>, (version, about): &(String, String)) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        seen.extend_from_slice(&buffer[..read]);
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&seen[..end]).into_owned();
            seen.drain(..end + 4);
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let told = about.replace("NOW", &humantime::format_rfc3339(SystemTime::now()).to_string());
            let body = match path.as_str() {
                path if path.contains("/version") => version.as_str(),
                path if path.contains("/info") => told.as_str(),
                path if path.contains("/volumes") => r#"{"Volumes": []}"#,
                path if path.contains("/images/create") => r#"{"status": "Pull complete", "id": "layer"}"#,
                // Of one image; of all there is none.
                path if path.contains("/images/") && !path.contains("/images/json") => r#"{"Id": "sha256:0"}"#,
                _ => "[]",
            };
            asked.lock().unwrap().push(path);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())?;
        }
    }
}
