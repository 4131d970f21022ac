//! An SSH agent of our own for keys that `build.ssh` names by their files: `ssh-agent` and `ssh-add`, as they are on every host with
//! keys. It lives as long as the build, and its socket in a directory that nobody else may enter.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::run;
use crate::plan::action::Fault;

/// How long it may take to listen.
const BEGINNING: Duration = Duration::from_secs(10);

/// Waits for the end of whoever started it, however that comes about, and takes the agent and its directory along.
const KEEPER: &str = "trap '' HUP INT QUIT TERM; read -r _; kill \"$SSH_AGENT_PID\"; rm -rf -- \"$1\"";

/// A running agent with some keys.
pub(super) struct KeyAgent {
    directory: PathBuf,
    socket: PathBuf,
    child: Option<Child>,
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // That is what it waits for; it is waited for so that nothing is left of it.
            drop(child.stdin.take());
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl KeyAgent {
    /// Starts one that has these keys.
    pub(super) async fn start(keys: Vec<PathBuf>) -> Result<Self, Fault> {
        let starting = tokio::task::spawn_blocking(move || Self::start_blocking(&keys));
        starting.await.unwrap_or_else(|error| Err(Fault::permanent(error.to_string())))
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    fn start_blocking(keys: &[PathBuf]) -> Result<Self, Fault> {
        let failed = |what: &str, error: io::Error| Fault::permanent(format!("`build.ssh`: {what}: {error}"));
        if let Some((path, error)) = keys.iter().find_map(|key| Some((key, fs::File::open(key).err()?))) {
            return Err(failed(&format!("read the key `{}`", path.display()), error));
        }
        let directory = std::env::temp_dir().join(format!("baistack-ssh-{}", run::slug()?));
        DirBuilder::new().mode(0o700).create(&directory).map_err(|error| failed("make a directory for an agent", error))?;
        let socket = directory.join("agent");
        let mut agent = Self { directory, socket, child: None };
        // It goes into the background, and would stay there if we were killed: what it runs in the foreground sees to it.
        let mut command = quiet("ssh-agent");
        command.args([OsStr::new("-a"), agent.socket.as_os_str()]).args(["/bin/sh", "-c", KEEPER, "sh"]).arg(&agent.directory);
        let child = command.stdin(Stdio::piped()).spawn();
        agent.child = Some(child.map_err(|error| failed("run `ssh-agent`", error))?);
        agent.await_socket()?;
        // A passphrase is asked for by nobody: there may be no terminal, and where there is one it is not ours to ask on. `never` would
        // ask there; what is forced to ask is a program that has no answer, which older ones run where there is a display.
        let mut adding = quiet("ssh-add");
        adding.arg("-q").args(keys).env("SSH_AUTH_SOCK", &agent.socket);
        adding.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        let added = adding.stderr(Stdio::piped()).output().map_err(|error| failed("run `ssh-add`", error))?;
        if !added.status.success() {
            let said = String::from_utf8_lossy(&added.stderr);
            let help = "add a key with a passphrase to your own agent, and write `default`";
            return Err(Fault::permanent(format!("`build.ssh`: the key cannot be used: {}; {help}", said.trim())));
        }
        Ok(agent)
    }

    /// Nothing tells when it listens but that it can be connected to.
    fn await_socket(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            let has_ended = self.child.as_mut().is_none_or(|child| child.try_wait().ok().flatten().is_some());
            if has_ended || begun.elapsed() > BEGINNING {
                return Err(Fault::permanent("`build.ssh`: `ssh-agent` does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(program: &str) -> bool {
        let found =
            std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
        if !found {
            eprintln!("skipped: no {program}");
        }
        found
    }

    /// By signal(7), the same on every architecture.
    const QUIT: u32 = 3;

    /// Waits until a shell has come so far.
    fn wait_until_it_ignores(pid: &str, signal: u32) {
        let ignores = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
            (u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1)) & 1 == 1
        };
        let begun = Instant::now();
        while !ignores() {
            assert!(begun.elapsed() < BEGINNING, "it does not ignore {signal}");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn keys_are_in_an_agent_that_ends_with_the_build() {
        if !["ssh-agent", "ssh-add", "ssh-keygen"].into_iter().all(is_there) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str, passphrase: &str| {
            let path = dir.path().join(name);
            let made = quiet("ssh-keygen").args(["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f"]).arg(&path).status();
            assert!(made.unwrap().success());
            path
        };
        let agent = KeyAgent::start(vec![key("one", ""), key("two", "")]).await.unwrap();
        let listed = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", agent.socket()).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.lines().count() == 2 && listed.contains(" one ") && listed.contains(" two "), "{listed}");
        let directory = agent.directory.clone();
        drop(agent);
        assert!(!directory.exists());
        // As when we are killed: nothing is left to be done but that our end of the pipe goes.
        let mut agent = KeyAgent::start(vec![key("three", "")]).await.unwrap();
        drop(agent.child.as_mut().unwrap().stdin.take());
        assert!(agent.child.take().unwrap().wait().is_ok());
        assert!(!agent.directory.exists() && std::os::unix::net::UnixStream::connect(agent.socket()).is_err());
        // A terminal tells its whole group of Ctrl-C and Ctrl-\\, and of its own end: whoever keeps the agent has no part in that.
        let mut agent = KeyAgent::start(vec![key("four", "")]).await.unwrap();
        let keeper = agent.child.as_ref().unwrap().id().to_string();
        wait_until_it_ignores(&keeper, QUIT);
        for signal in ["-HUP", "-INT", "-QUIT", "-TERM"] {
            assert!(Command::new("kill").args([signal, &keeper]).status().unwrap().success());
        }
        let listed = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", agent.socket()).output().unwrap();
        assert!(String::from_utf8(listed.stdout).unwrap().contains(" four "));
        assert!(agent.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it still waits for our end");
        let directory = agent.directory.clone();
        drop(agent);
        assert!(!directory.exists());
        let fault = KeyAgent::start(vec![key("locked", "passphrase")]).await.err().unwrap();
        assert!(fault.message.contains("`default`"), "{fault}");
        let fault = KeyAgent::start(vec![dir.path().join("none")]).await.err().unwrap();
        assert!(fault.message.contains("none"), "{fault}");
    }
}
