//! stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life { Last, Number(u32) }
pub fn last(_: &super::context::Context, _: &crate::base::name::EnvId, _: &crate::base::name::UnitId, _: usize) -> Result<Vec<String>, super::CliError> { todo!() }
