//! Groups of users, ours and others'. The kernel keeps sixteen of a process; the others are asked for when it matters
//! (getgroups(2)).

use std::ffi::{CStr, c_int};
use std::ptr;

/// No user is in more.
const MOST: usize = 65_536;

/// The groups that a user is in, with this one; none where the tables cannot be read.
pub fn groups_of(user: &CStr, with: u32) -> Option<Vec<u32>> {
    let mut room = 64;
    while room <= MOST {
        let mut groups: Vec<c_int> = vec![0; room];
        let mut count = c_int::try_from(room).ok()?;
        // SAFETY: the name ends with a zero, and the list is as long as we say.
        let found = unsafe { libc::getgrouplist(user.as_ptr(), with as c_int, groups.as_mut_ptr(), &raw mut count) };
        if found >= 0 {
            groups.truncate(usize::try_from(count).ok()?);
            return Some(groups.into_iter().map(|group| group as u32).collect());
        }
        room *= 2;
    }
    None
}

/// Our supplementary groups.
pub fn own_groups() -> Vec<u32> {
    // SAFETY: without a list only their number is answered.
    let count = unsafe { libc::getgroups(0, ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the list is as long as we say.
    let filled = unsafe { libc::getgroups(count.max(0), groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(filled).unwrap_or(0));
    groups
}
