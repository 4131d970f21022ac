//! stub
use std::path::Path;
use indexmap::IndexMap;
use crate::base::name::EnvId;
use crate::plan::desired::Places;
use super::envdir::{EnvDir, StateDir};
pub fn predefined(_: &EnvId, _: &Path, _: Option<&Path>, _: &Places) -> IndexMap<String,String> { todo!() }
pub struct Holders;
impl Holders { pub fn look(_: &StateDir, _: &EnvDir) -> Self { Self } pub fn is_free(&self, _: u16) -> bool { true } pub fn who(&self, _: u16) -> String { String::new() } }

pub fn missing(_: &crate::plan::desired::Deployment, _: &IndexMap<String,String>) -> Vec<String> { vec![] }
pub fn taken_ports(_: &crate::plan::desired::Deployment, _: &[crate::base::name::ServiceName], _: &EnvDir) -> Vec<String> { vec![] }
