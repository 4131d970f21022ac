//! A log file that is rotated by its writer: `web.1.log`, then `web.1.log.1` (the newest of the old ones), `.2`, …
//!
//! A disk that is full drops what cannot be written and says how much, once it can; it never stops the writer.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{self, Mark, Part, Record, Stream, Timestamp};
use crate::base::bytes;
use crate::base::name::UnitId;
use crate::model::service::Logging;
use crate::world::clock;

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// So large a file may become.
    pub bytes: u64,
    /// So many files there are, the one that is written included.
    pub files: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { bytes: 20 << 20, files: 5 }
    }
}

impl Size {
    /// `logging.options`: `max-size`, `max-file`.
    pub fn of(logging: Option<&Logging>) -> Self {
        let option = |name: &str| logging.and_then(|logging| logging.options.get(name));
        let default = Self::default();
        Self {
            bytes: option("max-size").and_then(|text| bytes::parse(text)).filter(|&size| size > 0).unwrap_or(default.bytes),
            files: option("max-file").and_then(|text| text.parse().ok()).filter(|&files| files > 0).unwrap_or(default.files),
        }
    }
}

/// The file that a unit's log is written to.
pub fn path(directory: &Path, unit: &UnitId) -> PathBuf {
    directory.join(format!("{}.{}.log", unit.service, unit.replica))
}

/// The `index`th older file of a log; 0 is the one that is written.
pub fn older(path: &Path, index: u32) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

/// The unit whose log a file is, from its name; none for older files and strangers.
pub fn unit_of(path: &Path) -> Option<UnitId> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let (service, replica) = stem.rsplit_once('.')?;
    Some(UnitId::new(service.parse().ok()?, replica.parse().ok()?))
}

/// The units that have a log in a directory.
pub fn logged(directory: &Path) -> Vec<UnitId> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| unit_of(&entry.path())).collect()
}

/// The writer's side.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    size: Size,
    file: Option<File>,
    written: u64,
    /// Written before what is appended next; a log of which nothing is there yet.
    held: Vec<u8>,
    /// Bytes that could not be written since the last that could.
    lost: u64,
    /// The last write ended within a record.
    torn: bool,
}

impl LogFile {
    /// Goes on with a log, or begins it at the first write.
    pub fn new(path: PathBuf, size: Size) -> Self {
        Self { path, size, file: None, written: 0, held: Vec::new(), lost: 0, torn: false }
    }

    /// How much is kept from now on.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// Lets the file go; the next write opens it again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Begins a life with these records. Where they would be the first of a log, it is made when there is more to be said: of what says
    /// nothing there is no file.
    pub fn begin(&mut self, records: &[u8]) {
        let is_first = self.file.is_none() && self.written == 0 && self.lost == 0 && !self.path.exists();
        if is_first {
            self.held.extend_from_slice(records);
        } else {
            self.append(records);
        }
    }

    /// Appends whole records. What cannot be written is dropped and counted.
    pub fn append(&mut self, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let records = if held.is_empty() {
            records
        } else {
            held.extend_from_slice(records);
            &held
        };
        let mut note = Vec::new();
        if self.lost > 0 || self.torn {
            self.note_loss(&mut note);
        }
        let written = self.write(&note).and_then(|()| {
            (self.lost, self.torn) = (0, false);
            self.write(records)
        });
        if written.is_err() {
            self.lost += records.len() as u64;
            // A file that was deleted or whose disk has gone is opened again, not written into the void.
            self.file = None;
        }
    }

    fn note_loss(&self, out: &mut Vec<u8>) {
        if self.torn {
            out.push(b'\n');
        }
        let text = format!("{} bytes of output could not be written and are lost", self.lost);
        let time = Timestamp::from(clock::wall());
        Record { time, stream: Stream::Stderr, part: Part::Mark(Mark::Note), of: None, text: text.as_bytes() }.write(out);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut first = Cow::Borrowed(bytes);
        if let Some(file) = &self.file
            && !bytes.is_empty()
            && self.written > 0
            && self.written + bytes.len() as u64 > self.size.bytes
        {
            let before = file.metadata().map(|about| about.ino()).ok();
            self.rotate()?;
            first = before.map_or(first, |before| record::following(bytes, before));
        }
        let mut bytes = first.as_ref();
        while !bytes.is_empty() {
            match self.open()?.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = &bytes[count..];
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            self.written = file.metadata()?.len();
            self.file = Some(file);
        }
        Ok(self.file.as_ref().expect("it has just been opened"))
    }

    /// Moves every file one further; the oldest goes. A reader that has one open reads on in it.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.written = 0;
        let is_gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        // Before anything takes its name: where one file takes the place of another, ext4 writes it to the disk then and there
        // (`auto_da_alloc` in ext4(5)), also what will have gone before it would ever have been written.
        is_gone(fs::remove_file(older(&self.path, self.size.files - 1)))?;
        for index in (0..self.size.files - 1).rev() {
            is_gone(fs::rename(older(&self.path, index), older(&self.path, index + 1)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_says_nothing_there_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.1.log");
        let mut log = LogFile::new(path.clone(), Size::default());
        log.begin(b"life 1\n");
        assert!(!path.exists());
        log.append(b"line\n");
        log.close();
        log.begin(b"life 2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "life 1\nline\nlife 2\n");
        // Nor does the next supervisor leave out what begins after there was something.
        let mut log = LogFile::new(path.clone(), Size::default());
        log.begin(b"life 3\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "life 1\nline\nlife 2\nlife 3\n");
    }

    #[test]
    fn nothing_is_lost_between_files_and_no_more_are_kept_than_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.1.log");
        let mut log = LogFile::new(path.clone(), Size { bytes: 20, files: 3 });
        for number in 0..10 {
            log.append(format!("line {number}\n").as_bytes());
        }
        let text = |index| fs::read_to_string(older(&path, index)).unwrap_or_default();
        assert_eq!([text(2), text(1), text(0)].concat(), "line 4\nline 5\nline 6\nline 7\nline 8\nline 9\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_loss_is_said_as_soon_as_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/web.1.log");
        let mut log = LogFile::new(path.clone(), Size::default());
        log.append(b"one\n");
        fs::create_dir(directory.path().join("missing")).unwrap();
        log.append(b"two\n");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("F:note 4 bytes of output") && text.ends_with("two\n"), "{text}");
    }

    #[test]
    fn a_file_name_tells_its_unit() {
        let unit: UnitId = "a.b:12".parse().unwrap();
        assert_eq!(unit_of(&path(Path::new("/x"), &unit)), Some(unit));
        assert_eq!(unit_of(Path::new("/x/a.1.log.1")), None);
    }
}
