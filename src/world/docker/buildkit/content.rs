//! Directories of layers that a build reads from and leaves layers in: containerd's content service over OCI layouts.
//!
//! Which of several directories a call is about stands in a header (`session/content` of moby/buildkit); what is answered, in
//! `services/content/v1/content.proto` of containerd/containerd, and how, in its `contentserver`. What the builder begins to write and
//! does not finish is gone with the call. Nothing is ever removed: that is whoever's the directory is.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use hyper::header::HeaderMap;
use sha2::{Digest, Sha256};

use super::super::layout::Layout;
use super::super::run;
use super::grpc::{Answer, HungUp, Messages, Outbox, Refusal, answers, code};
use super::wire::{ContentInfo, InfoResponse, ReadContent, ReadPiece, Timestamp, WriteAction, WriteContent, Written};
use crate::plan::hash::hex;

/// The header that names a directory.
pub(super) const STORE: &str = "buildkit-attachable-store-id";

/// How much of a content is sent at once, as by containerd.
const PIECE: usize = 1 << 20;

/// What is known of a content.
pub(super) fn info(layout: &Layout, digest: &str) -> Result<InfoResponse, Refusal> {
    let path = path_of(layout, digest)?;
    let found = fs::metadata(path).map_err(|error| absent(digest, &error))?;
    let modified = found.modified().ok().map(Timestamp::from);
    let info = ContentInfo {
        digest: digest.to_owned(),
        size: i64::try_from(found.len()).unwrap_or(i64::MAX),
        created: modified.clone(),
        updated: modified,
    };
    Ok(InfoResponse { info: Some(info) })
}

/// Answers with a content, or a part of it.
pub(super) fn read(layout: &Layout, wanted: &ReadContent) -> Result<Answer, Refusal> {
    let mut file = File::open(path_of(layout, &wanted.digest)?).map_err(|error| absent(&wanted.digest, &error))?;
    let broken = |error: io::Error| Refusal::new(code::UNKNOWN, format!("read `{}`: {error}", wanted.digest));
    let length = file.metadata().map_err(broken)?.len();
    let (offset, size) = (u64::try_from(wanted.offset), u64::try_from(wanted.size));
    let (Ok(offset), Ok(size)) = (offset, size) else {
        return Err(Refusal::new(code::INVALID_ARGUMENT, "an offset or a size below zero"));
    };
    if offset.checked_add(size).is_none_or(|end| end > length) {
        let why = format!("`{}` has {length} bytes, and {size} from {offset} on are wanted", wanted.digest);
        return Err(Refusal::new(code::OUT_OF_RANGE, why));
    }
    file.seek(SeekFrom::Start(offset)).map_err(broken)?;
    let part = file.take(if size == 0 { length - offset } else { size });
    let (outbox, answer) = answers();
    // It ends when what it sends is read by nobody any more.
    drop(tokio::task::spawn_blocking(move || send(part, offset, outbox)));
    Ok(answer)
}

fn send(mut part: impl Read, mut offset: u64, outbox: Outbox) {
    let mut piece = vec![0; PIECE];
    let result = loop {
        match part.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                let data = ReadPiece { offset: offset.cast_signed(), data: piece[..length].to_vec() };
                if let Err(HungUp) = outbox.send_blocking(&data) {
                    return;
                }
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(Refusal::new(code::UNKNOWN, error.to_string())),
        }
    };
    outbox.end_blocking(result);
}

/// Takes in a content, piece by piece.
pub(super) fn write(layout: Layout, requests: Messages) -> Answer {
    let (outbox, answer) = answers();
    tokio::spawn(async move {
        let result = take_in(layout, requests, &outbox).await;
        outbox.end(result).await;
    });
    answer
}

async fn take_in(layout: Layout, mut requests: Messages, outbox: &Outbox) -> Result<(), Refusal> {
    let Some(mut request) = requests.next::<WriteContent>().await? else { return Ok(()) };
    let (total, expected) = (request.total, request.expected.clone());
    if request.reference.is_empty() {
        return Err(Refusal::new(code::INVALID_ARGUMENT, "the first message has no reference"));
    }
    if !expected.is_empty() && fs::exists(path_of(&layout, &expected)?).unwrap_or(false) {
        return Err(Refusal::new(code::ALREADY_EXISTS, format!("`{expected}` is here already")));
    }
    let mut unfinished = Unfinished::begin(layout).map_err(|error| unwritten(&error))?;
    loop {
        let is_last = request.action() == WriteAction::Commit;
        let (total, expected) = (total.max(request.total), or_else(&request.expected, &expected));
        // A disk may be slow, and others wait for this thread.
        let taken = tokio::task::spawn_blocking(move || {
            let written = unfinished.take(&request, total, &expected);
            (unfinished, written)
        });
        let (still, written) = taken.await.map_err(|error| Refusal::new(code::UNKNOWN, error.to_string()))?;
        unfinished = still;
        if outbox.send(&written?).await.is_err() || is_last {
            return Ok(());
        }
        match requests.next().await? {
            Some(next) => request = next,
            None => return Ok(()),
        }
    }
}

fn or_else(own: &str, other: &str) -> String {
    if own.is_empty() { other } else { own }.to_owned()
}

/// A content of which not all is there. What is not committed is removed.
struct Unfinished {
    layout: Layout,
    path: PathBuf,
    file: File,
    offset: i64,
    hash: Sha256,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it is committed there is nothing at this path.
        let _ = fs::remove_file(&self.path);
    }
}

impl Unfinished {
    fn begin(layout: Layout) -> io::Result<Self> {
        let name = run::slug().map_err(|fault| io::Error::other(fault.message))?;
        let path = layout.unfinished(&name)?;
        let file = File::create_new(&path)?;
        Ok(Self { layout, path, file, offset: 0, hash: Sha256::new() })
    }

    fn take(&mut self, request: &WriteContent, total: i64, expected: &str) -> Result<Written, Refusal> {
        match request.action() {
            WriteAction::Stat => {}
            WriteAction::Write => self.append(request)?,
            WriteAction::Commit => {
                self.append(request)?;
                self.commit(request.total, expected)?;
            }
        }
        Ok(Written { action: request.action, offset: self.offset, total, digest: self.digest() })
    }

    fn digest(&self) -> String {
        format!("sha256:{}", hex(&self.hash.clone().finalize()))
    }

    fn append(&mut self, request: &WriteContent) -> Result<(), Refusal> {
        if request.offset > 0 && request.offset != self.offset {
            let why = format!("a piece from {} on comes where {} is due", request.offset, self.offset);
            return Err(Refusal::new(code::OUT_OF_RANGE, why));
        }
        if request.offset == 0 && self.offset > 0 && request.action() == WriteAction::Write {
            self.begin_again().map_err(|error| unwritten(&error))?;
        }
        self.file.write_all(&request.data).map_err(|error| unwritten(&error))?;
        self.hash.update(&request.data);
        self.offset += i64::try_from(request.data.len()).unwrap_or(i64::MAX);
        Ok(())
    }

    fn begin_again(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.offset, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Gives it its place, if it is what it should be.
    fn commit(&mut self, size: i64, expected: &str) -> Result<(), Refusal> {
        let digest = self.digest();
        if size > 0 && size != self.offset {
            let why = format!("{} bytes came, and {size} were announced", self.offset);
            return Err(Refusal::new(code::FAILED_PRECONDITION, why));
        }
        if !expected.is_empty() && expected != digest {
            let why = format!("`{digest}` came, and `{expected}` was announced");
            return Err(Refusal::new(code::FAILED_PRECONDITION, why));
        }
        let place = path_of(&self.layout, &digest)?;
        let put = || {
            self.file.sync_all()?;
            if let Some(directory) = place.parent() {
                DirBuilder::new().recursive(true).create(directory)?;
            }
            fs::rename(&self.path, &place)
        };
        put().map_err(|error| unwritten(&error))
    }
}

/// The header of a call that names a directory.
pub(super) fn store_of(headers: &HeaderMap) -> Result<String, Refusal> {
    let named = headers.get(STORE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    named.ok_or_else(|| Refusal::new(code::INVALID_ARGUMENT, format!("the call has no `{STORE}`")))
}

fn path_of(layout: &Layout, digest: &str) -> Result<PathBuf, Refusal> {
    layout.blob(digest).ok_or_else(|| Refusal::new(code::INVALID_ARGUMENT, format!("`{digest}` is no digest of SHA-256")))
}

fn absent(digest: &str, error: &io::Error) -> Refusal {
    let code = if error.kind() == io::ErrorKind::NotFound { code::NOT_FOUND } else { code::UNKNOWN };
    Refusal::new(code, format!("content `{digest}`: {error}"))
}

fn unwritten(error: &io::Error) -> Refusal {
    Refusal::new(code::UNKNOWN, format!("write layers: {error}"))
}
