//! `cap_add` of a process: whether it can be had, in which of the three ways, and what to do when it cannot.
//!
//! 1. We hold the capability: it becomes an ambient one of the child, no file is touched. 2. The program's file carries it.
//! 3. Neither: the one `setcap` line that would help.
//!
//! A program whose file carries capabilities runs in the loader's secure mode (ld.so(8)): variables that would let its caller
//! in, as `LD_LIBRARY_PATH`, are dropped. Ambient capabilities do not cause that.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::spawn::{self, Order};
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;
use crate::world::kernel;

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
    if are_within(wanted, kernel::capabilities::held()) {
        return Verdict::Ambient;
    }
    match spawn::find(program, &order.directory(), path.as_deref()) {
        Ok(file) => judge(wanted, &file, path.as_deref()),
        Err(fault) => Verdict::NotYet(fault),
    }
}

/// The capabilities that the child is to raise for itself, as a mask.
pub(super) fn ambient(cap_add: &[String], file: &Path, path: Option<&str>) -> Result<u64, Fault> {
    if cap_add.is_empty() {
        return Ok(0);
    }
    let wanted = parse(cap_add)?;
    match judge(wanted, file, path) {
        Verdict::NotAsked | Verdict::InFile => Ok(0),
        Verdict::Ambient => Ok(wanted),
        Verdict::NotYet(fault) | Verdict::Wrong(fault) => Err(fault),
        Verdict::Missing(missing) => Err(missing.fault()),
    }
}

fn judge(wanted: u64, file: &Path, path: Option<&str>) -> Verdict {
    if are_within(wanted, kernel::capabilities::held()) {
        return Verdict::Ambient;
    }
    let program = interpreter(file, path).unwrap_or_else(|| file.to_owned());
    let carrier = match fs::canonicalize(&program) {
        Ok(carrier) => carrier,
        Err(error) => return Verdict::NotYet(Fault::permanent(format!("look at `{}`: {error}", file.display()))),
    };
    let carried = kernel::capabilities::of_file(&carrier);
    if are_within(wanted, carried) {
        return kernel::capabilities::are_ignored(&carrier).map_or(Verdict::InFile, |why| Verdict::Wrong(Fault::permanent(why)));
    }
    // `setcap` replaces, and what the file carries another service may need.
    let names = kernel::capabilities::names(wanted | carried);
    let link = link_of_environment(&program);
    let shared_interpreter = link.is_some() || program != file;
    Verdict::Missing(Missing { file: carrier, capabilities: format!("{}+ep", names.join(",")), shared_interpreter, link })
}

/// Which of these variables the loader drops for a program, since its file carries capabilities: none for root, who gains
/// nothing by them.
pub(super) fn dropped_by_loader<'a>(
    file: &Path,
    uid: u32,
    variables: impl Iterator<Item = &'a [u8]>,
    path: Option<&str>,
) -> Vec<String> {
    let names = variables.filter_map(|variable| std::str::from_utf8(variable.split(|byte| *byte == b'=').next()?).ok());
    let droppable: Vec<String> = names.filter(|name| name.starts_with("LD_")).map(str::to_owned).collect();
    // The file is looked at only where something depends on it.
    let is_dropped = || kernel::capabilities::are_carried_by(&interpreter(file, path).unwrap_or_else(|| file.to_owned()));
    if uid != 0 && !droppable.is_empty() && is_dropped() { droppable } else { Vec::new() }
}

/// What is asked for, as a mask.
fn parse(cap_add: &[String]) -> Result<u64, Fault> {
    kernel::capabilities::parse(cap_add).map_err(Fault::permanent)
}

fn are_within(wanted: u64, others: u64) -> bool {
    wanted & !others == 0
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

#[cfg(test)]
mod tests {
    use super::*;

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
