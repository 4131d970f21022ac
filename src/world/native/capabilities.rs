//! `cap_add` of a process: whether it can be had, in which of the three ways, and what to do when it cannot.
//!
//! 1. We hold the capability: it becomes an ambient one of the child, no file is touched. 2. The program's file carries it.
//! 3. Neither: the one `setcap` line that would help.
//!
//! A program whose file carries capabilities runs in the loader's secure mode (ld.so(8)): variables that would let its caller
//! in, as `LD_LIBRARY_PATH`, are dropped. Ambient capabilities do not cause that.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};

use super::spawn::{self, Order};
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;

/// How a process comes by its capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It asks for none.
    NotAsked,
    /// We hold them and hand them on.
    Ambient,
    /// Its program's file carries them.
    InFile,
    /// Its program is not there yet: a task has yet to make it.
    NotYet(Fault),
    /// They cannot be had as things are.
    Missing(Missing),
    /// What was asked for makes no sense here.
    Wrong(Fault),
}

/// What would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The file that would have to carry them: symlinks resolved, `#!` followed.
    pub file: PathBuf,
    /// As `setcap` takes them: `cap_sys_ptrace,cap_sys_admin+ep`.
    pub capabilities: String,
    /// The file is an interpreter, which anybody may run: its capabilities would be everybody's.
    pub shared_interpreter: bool,
    /// The link of a virtual environment through which that interpreter is run, if it is: a copy may take its place.
    pub link: Option<PathBuf>,
}

impl Missing {
    /// The line to be run, as arguments.
    pub fn command(&self) -> Vec<String> {
        let sudo = (!nix::unistd::geteuid().is_root()).then(|| "sudo".to_owned());
        let setcap = ["setcap".to_owned(), self.capabilities.clone(), self.file.display().to_string()];
        sudo.into_iter().chain(setcap).collect()
    }

    /// What the program will do otherwise from then on, in one sentence fragment.
    pub fn consequences(&self) -> String {
        format!(
            "the loader drops `LD_LIBRARY_PATH`, `LD_PRELOAD` and their like for `{}` from now on, and only root can trace it",
            self.file.display()
        )
    }

    /// Puts a copy of the interpreter where the virtual environment has a link to it, so that its capabilities are nobody
    /// else's. Changes nothing where there is no such link.
    pub fn made_private(self) -> io::Result<Self> {
        let Some(link) = &self.link else { return Ok(self) };
        let name = link.file_name().unwrap_or_default().to_string_lossy();
        let copy = link.with_file_name(format!(".{name}.new"));
        fs::copy(&self.file, &copy)?;
        fs::rename(&copy, link)?;
        Ok(Self { file: link.clone(), capabilities: self.capabilities, shared_interpreter: false, link: None })
    }

    fn fault(&self) -> Fault {
        let names = self.capabilities.trim_end_matches("+ep").to_ascii_uppercase().replace(',', ", ");
        Fault::permanent(format!(
            "neither we nor `{}` hold {names}; this would help: {}",
            self.file.display(),
            self.command().join(" ")
        ))
    }
}

/// Says, before anything starts, whether a unit gets what its `cap_add` asks for.
pub fn check(spec: &UnitSpec) -> Verdict {
    let cap_add = &spec.service().common.cap_add;
    if cap_add.is_empty() {
        return Verdict::NotAsked;
    }
    let order = Order::own(spec);
    let path = spawn::process(spec).ok().and_then(|process| {
        let deployment = &spec.deployment;
        crate::plan::environment::of_process(deployment, &spec.unit, spec.service(), process).swap_remove("PATH")
    });
    let Some(program) = order.argv.first() else { return Verdict::Wrong(Fault::permanent("no `command` to run")) };
    let wanted = match parse(cap_add) {
        Ok(wanted) => wanted,
        Err(fault) => return Verdict::Wrong(fault),
    };
    if held().is_superset(&wanted) {
        return Verdict::Ambient;
    }
    match spawn::find(program, &order.directory(), path.as_deref()) {
        Ok(file) => judge(&wanted, &file, path.as_deref()),
        Err(fault) => Verdict::NotYet(fault),
    }
}

/// The capabilities that the child is to raise for itself, as a mask.
pub(super) fn ambient(cap_add: &[String], file: &Path, path: Option<&str>) -> Result<u64, Fault> {
    if cap_add.is_empty() {
        return Ok(0);
    }
    let wanted = parse(cap_add)?;
    match judge(&wanted, file, path) {
        Verdict::NotAsked | Verdict::InFile => Ok(0),
        Verdict::Ambient => Ok(wanted.iter().fold(0, |mask, capability| mask | 1 << capability.index())),
        Verdict::NotYet(fault) | Verdict::Wrong(fault) => Err(fault),
        Verdict::Missing(missing) => Err(missing.fault()),
    }
}

fn judge(wanted: &CapsHashSet, file: &Path, path: Option<&str>) -> Verdict {
    if held().is_superset(wanted) {
        return Verdict::Ambient;
    }
    let program = interpreter(file, path).unwrap_or_else(|| file.to_owned());
    let carrier = match fs::canonicalize(&program) {
        Ok(carrier) => carrier,
        Err(error) => return Verdict::NotYet(Fault::permanent(format!("look at `{}`: {error}", file.display()))),
    };
    let carried = of_file(&carrier).unwrap_or_default();
    if carried.is_superset(wanted) {
        return ignored(&carrier).map_or(Verdict::InFile, |why| Verdict::Wrong(Fault::permanent(why)));
    }
    // `setcap` replaces, and what the file carries another service may need.
    let mut names: Vec<String> = wanted.union(&carried).map(|capability| capability.to_string().to_ascii_lowercase()).collect();
    names.sort();
    let link = link_of_environment(&program);
    let shared_interpreter = link.is_some() || program != file;
    Verdict::Missing(Missing { file: carrier, capabilities: format!("{}+ep", names.join(",")), shared_interpreter, link })
}

/// Why the kernel takes no notice of the capabilities that a file carries, if it does not (capabilities(7)).
fn ignored(carrier: &Path) -> Option<String> {
    let file = carrier.display();
    if nix::sys::prctl::get_no_new_privs().unwrap_or(false) {
        return Some(format!("we were started with `no_new_privs`, so the capabilities of `{file}` have no effect"));
    }
    let flags = nix::sys::statvfs::statvfs(carrier).ok()?.flags();
    let is_nosuid = flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID);
    is_nosuid.then(|| format!("`{file}` lies on a file system mounted `nosuid`, so its capabilities have no effect"))
}

/// Which of these variables the loader drops for a program, since its file carries capabilities: none for root, who gains
/// nothing by them.
pub(super) fn dropped_by_loader<'a>(
    file: &Path,
    uid: u32,
    variables: impl Iterator<Item = &'a [u8]>,
    path: Option<&str>,
) -> Vec<String> {
    let program = interpreter(file, path).unwrap_or_else(|| file.to_owned());
    if uid == 0 || !has_attribute(&program) {
        return Vec::new();
    }
    let names = variables.filter_map(|variable| std::str::from_utf8(variable.split(|byte| *byte == b'=').next()?).ok());
    names.filter(|name| name.starts_with("LD_")).map(str::to_owned).collect()
}

fn has_attribute(file: &Path) -> bool {
    attribute(file).is_some_and(|value| !value.is_empty())
}

/// Docker's names, with or without `CAP_`.
fn parse(cap_add: &[String]) -> Result<CapsHashSet, Fault> {
    let mut wanted = CapsHashSet::new();
    for name in cap_add {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            wanted.extend(caps::runtime::thread_all_supported());
            continue;
        }
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let capability = Capability::from_str(&full).map_err(|_| Fault::permanent(format!("`{name}` is not a capability")))?;
        wanted.insert(capability);
    }
    Ok(wanted)
}

fn held() -> CapsHashSet {
    caps::read(None, CapSet::Permitted).unwrap_or_default()
}

/// The program that a `#!` line names, also through `env`; none for anything but a script.
fn interpreter(file: &Path, path: Option<&str>) -> Option<PathBuf> {
    let mut head = Vec::new();
    fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = String::from_utf8_lossy(head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?).into_owned();
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next()?;
    let named = match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
        Some(program) if interpreter.ends_with("/env") => spawn::find(program, Path::new("/"), path).ok(),
        Some(_) | None => None,
    };
    Some(named.unwrap_or_else(|| interpreter.into()))
}

/// The last link on the way from a program in a virtual environment to an interpreter outside of it.
fn link_of_environment(program: &Path) -> Option<PathBuf> {
    let directory = program.parent()?;
    // PEP 405: what makes a directory a virtual environment.
    if !directory.parent()?.join("pyvenv.cfg").is_file() {
        return None;
    }
    let mut link = program.to_owned();
    loop {
        let target = directory.join(fs::read_link(&link).ok()?);
        if target.parent() != Some(directory) {
            return Some(link);
        }
        link = target;
    }
}

/// What a file gives to whoever executes it: the permitted set, if it is effective at once.
fn of_file(file: &Path) -> Option<CapsHashSet> {
    parse_attribute(&attribute(file)?)
}

/// `security.capability` of a file, links followed.
fn attribute(file: &Path) -> Option<Vec<u8>> {
    let path = CString::new(file.as_os_str().as_bytes()).ok()?;
    let mut value = [0_u8; 64];
    // SAFETY: both strings end with NUL and the buffer is as long as we say.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    Some(value.get(..usize::try_from(length).ok()?)?.to_vec())
}

/// `struct vfs_cap_data` (linux/capability.h): flags and version, then permitted and inheritable, low and high halves.
fn parse_attribute(value: &[u8]) -> Option<CapsHashSet> {
    let word = |at: usize| Some(u64::from(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?)));
    let flags = word(0)?;
    let is_effective = flags & 1 == 1;
    if !is_effective {
        return None;
    }
    let permitted = word(4)? | word(12).unwrap_or(0) << 32;
    Some(caps::all().into_iter().filter(|capability| permitted >> capability.index() & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        let names = |list: &[&str]| parse(&list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["SYS_PTRACE", "cap_kill"]).unwrap(), [Capability::CAP_SYS_PTRACE, Capability::CAP_KILL].into());
        assert_eq!(names(&crate::model::kernel::CAPABILITIES).unwrap(), caps::all());
        assert_eq!(names(&["FLY"]).unwrap_err().message, "`FLY` is not a capability");
    }

    #[test]
    fn the_attribute_of_a_file_is_read() {
        // `setcap cap_sys_ptrace,cap_net_bind_service+ep`, as the kernel stores it.
        let value = [1, 0, 0, 2, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let carried = [Capability::CAP_SYS_PTRACE, Capability::CAP_NET_BIND_SERVICE].into();
        assert_eq!(parse_attribute(&value), Some(carried));
        let not_effective = [0, 0, 0, 2, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_attribute(&not_effective), None);
        assert_eq!(parse_attribute(&[]), None);
    }

    #[test]
    fn a_script_is_carried_by_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#!/usr/bin/env sh\n").unwrap();
        assert_eq!(interpreter(&script, Some("/bin")), Some("/bin/sh".into()));
        assert_eq!(interpreter(Path::new("/bin/sh"), None), None);
    }

    #[test]
    fn the_interpreter_of_a_virtual_environment_is_copied_into_it() {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(directory.path().join("pyvenv.cfg"), "").unwrap();
        std::os::unix::fs::symlink("python3", bin.join("python")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", bin.join("python3")).unwrap();
        assert_eq!(link_of_environment(Path::new("/bin/sh")), None);
        let link = link_of_environment(&bin.join("python"));
        assert_eq!(link, Some(bin.join("python3")));

        let file = fs::canonicalize("/bin/sh").unwrap();
        let missing = Missing { file, capabilities: "cap_kill+ep".to_owned(), shared_interpreter: true, link };
        let private = missing.made_private().unwrap();
        assert_eq!((&private.file, private.shared_interpreter), (&bin.join("python3"), false));
        assert_eq!(fs::canonicalize(bin.join("python")).unwrap(), fs::canonicalize(&bin).unwrap().join("python3"));
    }
}
