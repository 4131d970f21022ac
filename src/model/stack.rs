//! A whole stack.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::language_model::LanguageModel;
use super::network::Network;
use super::owned::Owned;
use super::port::NamedPort;
use super::requires::Requirement;
use super::secret::FileObject;
use super::service::Service;
use super::value::Generated;
use super::volume::Volume;
use crate::base::name::ServiceName;

/// What the files describe, after loading: interpolated, merged, canonical, profiles applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// The stack's directory: relative paths are relative to it.
    pub directory: PathBuf,
    /// The files it was read from, absolute, in order.
    pub files: Vec<PathBuf>,
    /// Containers and processes, in the order of the files.
    pub services: IndexMap<ServiceName, Service>,
    /// Services that exist in the files but whose profile is off: not started, not orphans.
    pub disabled: IndexMap<ServiceName, Service>,
    /// The names of `jobs:`, of which `run` makes services. What is left of such a run is no orphan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<ServiceName>,
    /// `networks:`, by key.
    pub networks: IndexMap<String, Network>,
    /// `volumes:`, by key.
    pub volumes: IndexMap<String, Volume>,
    /// `secrets:`, by key.
    pub secrets: IndexMap<String, FileObject>,
    /// `configs:`, by key. Templates are rendered: they arrive here as `content`.
    pub configs: IndexMap<String, FileObject>,
    /// `models:`, by key.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, LanguageModel>,
    /// `ports:`: the named ports with their preferred numbers.
    pub ports: IndexMap<String, NamedPort>,
    /// `requires:`: what the host must have.
    pub requires: Vec<Requirement>,
    /// `generate:`: values made once per environment.
    pub generate: IndexMap<String, Generated>,
    /// `images:`: pulled beside the start.
    pub images: Vec<String>,
    /// `owns:`: what services make outside of our sight.
    pub owns: Vec<Owned>,
    /// `welcome:`: printed when the stack is up.
    pub welcome: Option<String>,
}
