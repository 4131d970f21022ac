//! stub
use std::path::Path;
use indexmap::IndexMap;
use crate::base::name::EnvId;
use crate::load::{Head, Request};
use crate::plan::desired::Places;
use super::envdir::{StateDir, StateError};
pub struct Asked<'a> { pub project_name: Option<&'a str>, pub caller: &'a IndexMap<String,String>, pub head: &'a Head }
pub struct Found { pub env: EnvId, pub is_new: bool }
pub fn find(_: &Asked<'_>, _: &StateDir) -> Result<Found, StateError> { todo!() }
pub fn find_or_make(_: &Asked<'_>, _: &StateDir) -> Result<Found, StateError> { todo!() }
pub fn recorded_near(_: &Path, _: &Request, _: &StateDir) -> Option<EnvId> { todo!() }
pub fn predefined(_: &EnvId, _: &Head, _: &Places) -> IndexMap<String,String> { todo!() }
