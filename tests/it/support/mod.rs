//! What the tests share.

pub(crate) mod engine;
pub(crate) mod fake_engine;
pub(crate) mod host_engine;
pub(crate) mod memory;
pub(crate) mod mutation;
pub(crate) mod nameless;
pub(crate) mod own_engine;
pub(crate) mod registry;
pub(crate) mod sandbox;
pub(crate) mod ssh;
pub(crate) mod terminal;
pub(crate) mod web_proxy;
