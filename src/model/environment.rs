//! Environment variables of a service.

use indexmap::IndexMap;

/// Name → value. A null in the file that found no value in the environment stays `None` and is not given to the service.
pub type Environment = IndexMap<String, Option<String>>;
