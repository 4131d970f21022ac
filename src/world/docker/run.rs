//! One-off containers of a service (`run`), and the connection to a container's own input and output (`attach`).

use std::io::Read;
use std::sync::Arc;

use bollard::errors::Error;
use bollard::query_parameters::{AttachContainerOptionsBuilder, KillContainerOptionsBuilder, WaitContainerOptions};
use futures_util::stream::StreamExt;
use indexmap::IndexMap;
use tokio::io::AsyncRead;

use super::connect::Link;
use super::container::{MakeError, Removal, make, remove_by_id};
use super::exec::{self, AtEnd, Input, Output, Terminal};
use super::labels::OneOff;
use super::logs::LogStream;
use super::{Docker, error};
use crate::model::environment::Environment;
use crate::model::mount::Mount;
use crate::model::port::Port;
use crate::model::restart::RestartPolicy;
use crate::model::service::{Kind, Service};
use crate::plan::action::{AnonymousVolumes, Fault};
use crate::plan::desired::UnitSpec;
use crate::plan::hash::hex;

/// What of a service a one-off container has different.
#[derive(Debug, Clone, Default)]
pub struct RunSpec {
    /// Instead of the service's command.
    pub command: Option<Vec<String>>,
    /// Instead of the service's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// On top of the service's.
    pub environment: Environment,
    /// Instead of the service's user.
    pub user: Option<String>,
    /// Instead of the service's directory.
    pub working_dir: Option<String>,
    /// Beside the service's mounts; one on the same path replaces it.
    pub volumes: Vec<Mount>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// The service's published ports too.
    pub service_ports: bool,
    /// It has the service's aliases in its networks.
    pub use_aliases: bool,
    /// Capabilities on top of the service's.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// On top of the service's.
    pub labels: IndexMap<String, String>,
    /// `<ENVID>-<service>-run-<12 hex>` when absent.
    pub name: Option<String>,
    /// A terminal.
    pub tty: bool,
    /// It reads what is written to it.
    pub stdin: bool,
}

/// A container's own input and output.
pub struct Attached {
    docker: Docker,
    at_end: AtEnd,
    /// The container.
    pub container: String,
    /// What it writes; ends when it does.
    pub output: Output,
    /// What it reads; shutting it down is the end of its input (with a terminal also of its output).
    pub input: Input,
}

impl Docker {
    /// Connects to a running container, or to one that is about to be started.
    pub async fn attach(&self, container: &str, stdin: bool) -> Result<Attached, Fault> {
        let link = self.link().await?;
        let config = link.api.inspect_container(container, None).await?.config.unwrap_or_default();
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).stdin(stdin).build();
        let attached = link.patient().attach_container(container, Some(options)).await?;
        Ok(Attached {
            docker: self.clone(),
            at_end: AtEnd::of(config.tty == Some(true)),
            container: container.to_owned(),
            output: exec::chunks(attached.output),
            input: attached.input,
        })
    }

    /// Whether a container reads its input: one that was made without `stdin_open` has none.
    pub async fn reads_input(&self, container: &str) -> Result<bool, Fault> {
        let config = self.link().await?.api.inspect_container(container, None).await?.config.unwrap_or_default();
        Ok(config.open_stdin == Some(true))
    }

    /// Whether a container has a terminal of its own.
    pub async fn has_terminal(&self, container: &str) -> Result<bool, Fault> {
        let config = self.link().await?.api.inspect_container(container, None).await?.config.unwrap_or_default();
        Ok(config.tty == Some(true))
    }

    /// Makes a one-off container, connects to it and starts it. It stays when it has ended.
    pub async fn run(&self, spec: &UnitSpec, run: &RunSpec) -> Result<Attached, Fault> {
        let link = self.link().await?;
        let container = self.create_one_off(&link, spec, run, false).await?;
        let started = async {
            let attached = self.attach(&container, run.stdin).await?;
            self.start_one_off(&link, &container).await?;
            Ok(attached)
        };
        match started.await {
            Ok(attached) => Ok(attached),
            Err(fault) => {
                self.discard(&container).await;
                Err(fault)
            }
        }
    }

    /// Makes a one-off container and starts it. Answers with its id; with `remove` the engine removes it when it has ended.
    pub async fn run_detached(&self, spec: &UnitSpec, run: &RunSpec, remove: bool) -> Result<String, Fault> {
        let link = self.link().await?;
        let container = self.create_one_off(&link, spec, run, remove).await?;
        match self.start_one_off(&link, &container).await {
            Ok(()) => Ok(container),
            Err(fault) => {
                self.discard(&container).await;
                Err(fault)
            }
        }
    }

    /// Sends a signal to a container; one that has ended already is as good as told.
    pub async fn signal(&self, container: &str, signal: &str) -> Result<(), Fault> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.link().await?.api.kill_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error::status(&error), Some(404 | 409)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a one-off container, whatever it does.
    pub async fn discard(&self, container: &str) {
        let removed = async {
            remove_by_id(&self.link().await?, container, Removal { volumes: AnonymousVolumes::Removed, force: true }, &[]).await
        };
        if let Err(fault) = removed.await {
            tracing::warn!(container, %fault, "a one-off container stays behind");
        }
    }

    async fn create_one_off(&self, link: &Link, spec: &UnitSpec, run: &RunSpec, auto_remove: bool) -> Result<String, Fault> {
        let _slot = self.slot().await;
        let slug = slug()?;
        let name = run.name.clone().unwrap_or_else(|| format!("{}-{}-run-{slug}", spec.deployment.env, spec.unit.service));
        let spec = with_overrides(spec, run);
        let mut request = self
            .request(link, &spec, IndexMap::new(), Some(OneOff { name: name.clone(), slug, aliases: run.use_aliases }))
            .await?;
        request.body.stdin_once = Some(run.stdin);
        request.body.attach_stdin = Some(run.stdin);
        request.body.attach_stdout = Some(true);
        request.body.attach_stderr = Some(true);
        if let Some(host) = &mut request.body.host_config {
            host.auto_remove = Some(auto_remove);
        }
        match make(link, request).await {
            Ok(container) => Ok(container),
            Err(MakeError::NameTaken(_)) => Err(Fault::permanent(format!("the name `{name}` is taken"))),
            Err(MakeError::Other(fault)) => Err(fault),
        }
    }

    async fn start_one_off(&self, link: &Link, container: &str) -> Result<(), Fault> {
        let _slot = self.slot().await;
        Ok(link.api.start_container(container, None).await?)
    }

    /// Waits until a container has ended. Answers with its exit code.
    pub async fn wait(&self, container: &str) -> Result<i32, Fault> {
        let link = self.link().await?;
        let answers = link.patient().wait_container(container, None::<WaitContainerOptions>);
        let code = match std::pin::pin!(answers).next().await {
            Some(Ok(answer)) => answer.status_code,
            // Bollard takes every code but 0 for an error.
            Some(Err(Error::DockerContainerWaitError { code, error })) if error.is_empty() => code,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Fault::temporary("the Docker Engine has gone away")),
        };
        Ok(i32::try_from(code).unwrap_or(255))
    }
}

impl Attached {
    /// The container's terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal::of_container(self.docker.clone(), self.container.clone())
    }

    /// Carries input and output until the container has ended. Answers with its exit code.
    pub async fn carry(self, stdin: impl AsyncRead + Unpin, sink: impl FnMut(LogStream, &[u8])) -> Result<i32, Fault> {
        exec::carry(self.output, self.input, self.at_end, stdin, sink).await?;
        self.docker.wait(&self.container).await
    }
}

/// The unit as a one-off container runs it: nothing restarts it, and its ports stay with the service unless asked for.
fn with_overrides(spec: &UnitSpec, run: &RunSpec) -> UnitSpec {
    let mut deployment = (*spec.deployment).clone();
    let mut service: Service = spec.service().clone();
    let common = &mut service.common;
    common.restart = RestartPolicy::No;
    common.tty = run.tty;
    common.stdin_open = run.stdin;
    common.environment.extend(run.environment.clone());
    common.labels.extend(run.labels.clone());
    common.user = run.user.clone().or(common.user.take());
    common.working_dir = run.working_dir.clone().or(common.working_dir.take());
    if !run.service_ports {
        common.ports.clear();
    }
    common.ports.extend(run.ports.clone());
    common.cap_add.extend(run.cap_add.clone());
    if let Kind::Container(container) = &mut service.kind {
        if run.entrypoint.is_some() {
            container.entrypoint.clone_from(&run.entrypoint);
            // Another entry point does not know what to do with the service's command.
            container.command.clone_from(&run.command);
        } else if run.command.is_some() {
            container.command.clone_from(&run.command);
        }
        container.cap_drop.extend(run.cap_drop.clone());
        container.volumes.retain(|mount| !run.volumes.iter().any(|other| other.target == mount.target));
        container.volumes.extend(run.volumes.clone());
    }
    let name = &spec.unit.service;
    let place = if deployment.stack.services.contains_key(name) {
        &mut deployment.stack.services
    } else {
        &mut deployment.stack.disabled
    };
    place.insert(name.clone(), service);
    UnitSpec { deployment: Arc::new(deployment), ..spec.clone() }
}

/// Twelve hexadecimal digits that no other container has.
pub(super) fn slug() -> Result<String, Fault> {
    let mut bytes = [0; 6];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Fault::permanent(format!("read `/dev/urandom`: {error}")))?;
    Ok(hex(&bytes))
}
