//! Groups of users, ours and others'.

use std::ffi::CStr;

use nix::unistd::{Gid, getgrouplist, getgroups};

/// The groups that a user is in, with this one; none where the tables cannot be read.
pub fn groups_of(user: &CStr, with: u32) -> Option<Vec<u32>> {
    let groups = getgrouplist(user, Gid::from_raw(with)).ok()?;
    Some(groups.into_iter().map(Gid::as_raw).collect())
}

/// Our supplementary groups.
pub fn own_groups() -> Vec<u32> {
    getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}
