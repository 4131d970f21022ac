//! stub
use std::time::SystemTime;
use super::context::Context;
use super::CliError;
use crate::base::name::*;
use crate::view::log_lines::LogLines;
use crate::supervisor::status::UnitStatus;
pub struct Line { pub time: SystemTime }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life { Last, Number(u32) }
#[derive(Debug, Default)]
pub struct Wanted { pub since: Option<SystemTime>, pub until: Option<SystemTime>, pub services: Vec<ServiceName>, pub index: Option<u32>, pub tail: Option<u64>, pub life: Option<Life>, pub follow: bool }
pub struct Feed;
impl Feed { pub fn start(_: &Context, _: &EnvId, _: &Wanted, _: impl Fn(Line) -> bool + Send + Clone + 'static) -> Result<Feed, CliError> { todo!() }
 pub fn unit(&mut self, _: &UnitStatus) {} pub fn rest(self) -> Vec<Line> { todo!() } }
pub fn drawn(_: &Line, _: &mut LogLines) -> String { todo!() }
pub fn last(_: &Context, _: &EnvId, _: &UnitId, _: usize) -> Result<Vec<String>, CliError> { todo!() }
