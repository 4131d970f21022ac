//! All that this stack runs, in one program without dependencies: `app visits` counts (in the container),
//! `app web` shows the page, `app guest` comes by and looks at it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

fn main() -> io::Result<()> {
    end_when_asked();
    match env::args().nth(1).as_deref() {
        Some("visits") => visits(),
        Some("web") => web(),
        Some("guest") => guest(),
        _ => Err(io::Error::other("usage: app visits|web|guest")),
    }
}

/// Ends with 0 on SIGTERM. A container's first process has no default for signals: without this it would not hear of a stop, and
/// be killed when the grace period is over.
fn end_when_asked() {
    const SIGTERM: i32 = 15;
    extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: may be called in a signal handler (signal-safety(7)). Numbers are written by a rename, so any moment will do.
        unsafe { _exit(0) }
    }
    // SAFETY: the functions are the C library's, with these types.
    unsafe { signal(SIGTERM, end) };
}

/// Answers `GET /` with the number of visits; `POST /` adds one. The number outlives the container, on its volume.
fn visits() -> io::Result<()> {
    let file = setting("FILE")?;
    let count = Mutex::new(read_number(&file));
    println!("{} visits so far", read_number(&file));
    serve(move |method, _| {
        let mut count = count.lock().expect("nobody panics while counting");
        if method == "POST" {
            *count += 1;
            write_number(&file, *count);
        }
        Some(count.to_string())
    })
}

/// Shows `site/index.html`, read once: the watch on `site/` starts this process anew when the file is saved.
fn web() -> io::Result<()> {
    let page = fs::read_to_string("site/index.html")?;
    let envid = setting("BAISTACK_ENVID")?;
    let counter = setting("COUNTER")?;
    let starts = {
        let file = setting("STARTS_FILE")?;
        let starts = read_number(&file) + 1;
        write_number(&file, starts);
        starts
    };
    println!("start {starts}, pid {}", process::id());

    serve(move |_, path| match path {
        "/" => {
            let visits = ask("POST", &counter).unwrap_or_else(|_| "–".into());
            println!("the page was shown, visit {visits}");
            let page = page.replace("{{visits}}", &visits).replace("{{envid}}", &envid);
            let page = page.replace("{{starts}}", &starts.to_string());
            Some(page.replace("{{pid}}", &process::id().to_string()))
        }
        // The page asks this twice a second: it shows the number, and reloads when another start answers.
        "/now" => Some(format!("{starts} {}", ask("GET", &counter).unwrap_or_else(|_| "–".into()))),
        "/health" => Some("fine\n".into()),
        _ => None,
    })
}

/// Looks at the page every five seconds.
fn guest() -> io::Result<()> {
    let web = setting("WEB")?;
    loop {
        let asked = Instant::now();
        match ask("GET", &web) {
            Ok(page) => println!("saw {} bytes after {:?}", page.len(), asked.elapsed()),
            Err(error) => println!("saw nothing: {error}"),
        }
        thread::sleep(Duration::from_secs(5));
    }
}

/// Serves HTTP on `$LISTEN`. `answer` takes method and path; `None` is a 404.
fn serve(answer: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static) -> io::Result<()> {
    let answer = Arc::new(answer);
    for stream in TcpListener::bind(setting("LISTEN")?)?.incoming().flatten() {
        let answer = Arc::clone(&answer);
        // One thread each, since a browser keeps connections in reserve and says nothing on them.
        thread::spawn(move || reply(stream, &*answer));
    }
    Ok(())
}

fn reply(mut stream: TcpStream, answer: &dyn Fn(&str, &str) -> Option<String>) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|header| !header.is_empty())) {}

    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match answer(method, path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", "there is nothing here\n".into()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request for `/` and returns the body of the answer.
fn ask(method: &str, address: &str) -> io::Result<String> {
    let address = address.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "{method} / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("not an answer"))?;
    Ok(body.to_owned())
}

fn setting(name: &str) -> io::Result<String> {
    env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")))
}

fn read_number(file: &str) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write_number(file: &str, number: u64) {
    // By a rename, so that a kill at any moment leaves the old number or the new one.
    let new = format!("{file}.new");
    if let Err(error) = fs::write(&new, format!("{number}\n")).and_then(|()| fs::rename(&new, file)) {
        println!("{file} was not written: {error}");
    }
}
