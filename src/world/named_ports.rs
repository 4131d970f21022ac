//! stub
use std::collections::BTreeMap;
use indexmap::IndexMap;
use super::envdir::{EnvDir, StateDir, StateError, Numbers};
use crate::model::port::NamedPort;
pub struct Allocated { pub numbers: BTreeMap<String, Numbers>, pub replaced: Vec<String> }
pub fn kept(_: &EnvDir, _: &IndexMap<String, NamedPort>) -> Result<BTreeMap<String, Numbers>, StateError> { todo!() }
pub fn allocate(_: &StateDir, _: &EnvDir, _: &IndexMap<String, NamedPort>, _: bool) -> Result<Allocated, StateError> { todo!() }
