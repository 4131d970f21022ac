//! An engine that answers what a test says, at a socket of the test's own.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;

/// One without anything, by its `Version` and `ApiVersion`; what it says of itself (`/info`) is this, in which
/// `NOW` is the time. Answers with what it is asked.
pub(crate) fn empty_engine(socket: &Path, release: (&str, &str), about: &str) -> Arc<Mutex<Vec<String>>> {
    let version = format!(r#"{{"Version": "{}", "ApiVersion": "{}"}}"#, release.0, release.1);
    let answers = Arc::new((version, about.to_owned()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = UnixListener::bind(socket).unwrap();
    let all = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (all, answers) = (Arc::clone(&all), Arc::clone(&answers));
            thread::spawn(move || serve(stream, &all, &answers));
        }
    });
    asked
}

fn serve(mut stream: UnixStream, asked: &Mutex<Vec<String>>, (version, about): &(String, String)) -> std::io::Result<()> {
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
                _ => "[]",
            };
            asked.lock().unwrap().push(path);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())?;
        }
    }
}
