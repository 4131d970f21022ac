//! `generate:`.

use serde::{Deserialize, Serialize};

/// The variables that every stack has; nothing overrides them, and nothing else has their names.
pub const PREDEFINED: [&str; 6] = ["ENVID", "STACK_DIR", "STACK_FILE", "ENV_DIR", "RUN_DIR", "CPUS"];

/// How a value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generated {
    /// So many random bytes in hexadecimal.
    Hex(u32),
    /// So many random bytes in base64.
    Base64(u32),
    /// So many letters and digits.
    Alnum(u32),
    /// A version 4 UUID.
    Uuid,
}
