//! A host that is reached over SSH: this one, by a server of the test's own on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sandbox::{Sandbox, until};

/// Where Debian has it; it wants to be called by its whole path.
const SERVER: &str = "/usr/sbin/sshd";
/// Its own place, empty, which Debian makes at the boot.
const PLACE: &str = "/run/sshd";
/// On so many ports it is tried.
const TRIES: u32 = 5;

pub(crate) struct SshHost {
    server: Child,
    place: tempfile::TempDir,
    port: u16,
    /// [`PLACE`] was not there before.
    made_place: bool,
}

impl SshHost {
    /// None, said aloud, where OpenSSH or the `docker` that it is to begin is not installed.
    pub(crate) fn serve(name: &str) -> Option<Self> {
        let is_there =
            |program: &str| Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        let is_docker_there = Command::new("docker").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !Path::new(SERVER).exists() || !is_there("ssh") || !is_docker_there {
            eprintln!("{name} skipped: no OpenSSH server and client, or no `docker`");
            return None;
        }
        let made_place = nix::unistd::geteuid().is_root() && std::fs::create_dir(PLACE).is_ok();
        let place = tempfile::tempdir().unwrap();
        for key in ["host", "user"] {
            let mut generator = Command::new("ssh-keygen");
            let done = generator.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.path().join(key)).status().unwrap();
            assert!(done.success());
        }
        for _ in 0..TRIES {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Self::begin(place.path(), port);
            let mut has_ended = false;
            until("the server answers or ends", || {
                has_ended = server.try_wait().unwrap().is_some();
                has_ended || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !has_ended {
                let host = Self { server, place, port, made_place };
                host.write_client();
                let mut asked = Command::new(host.programs().join("ssh"));
                let asked = asked.args(["-o", "BatchMode=yes", &host.docker_host(None), "docker", "--version"]).output().unwrap();
                if asked.status.success() {
                    return Some(host);
                }
                eprintln!("{name} skipped: {}", String::from_utf8_lossy(&asked.stderr).trim());
                return None;
            }
        }
        panic!("{name}: the SSH server does not come up on any of {TRIES} ports");
    }

    fn begin(place: &Path, port: u16) -> Child {
        let path = |name: &str| place.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n",
            path("host"),
            path("user.pub")
        );
        std::fs::write(place.join("sshd_config"), config).unwrap();
        let mut command = Command::new(SERVER);
        command.arg("-D").arg("-f").arg(place.join("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// An `ssh` that knows the host and has its key: the real one reads its configuration from the home of the user, whatever `HOME` says.
    fn write_client(&self) {
        let path = |name: &str| self.place.path().join(name).display().to_string();
        let key = std::fs::read_to_string(path("host.pub")).unwrap();
        std::fs::write(path("known_hosts"), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
        let client = self.programs().join("ssh");
        let options = format!(
            "-F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -i '{}' -o UserKnownHostsFile='{}'",
            path("user"),
            path("known_hosts")
        );
        let real = "$(PATH=/usr/bin:/bin command -v ssh)";
        Sandbox::program_at(&client, format!("#!/bin/sh\nexec \"{real}\" {options} \"$@\"\n"));
    }

    /// The directory of its `ssh`, to be first in `PATH`.
    pub(crate) fn programs(&self) -> PathBuf {
        self.place.path().join("bin")
    }

    /// `DOCKER_HOST` for the engine that this host has, as this user or another.
    pub(crate) fn docker_host(&self, user: Option<&str>) -> String {
        let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        format!("ssh://{}@127.0.0.1:{}", user.unwrap_or(&own), self.port)
    }
}

impl Drop for SshHost {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if self.made_place {
            // Not where somebody else has begun to use it.
            let _ = std::fs::remove_dir(PLACE);
        }
    }
}
