//! Capabilities (capabilities(7)), as masks: bit `n` is capability `n`.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Why there are none, where the kernel knows none.
pub fn why_none() -> Option<&'static str> {
    None
}

/// Docker's names, with or without `CAP_`; the error is one sentence fragment.
pub fn parse(names: &[String]) -> Result<u64, String> {
    let mut wanted = 0;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            wanted |= mask(caps::runtime::thread_all_supported());
            continue;
        }
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let capability = Capability::from_str(&full).map_err(|_| format!("`{name}` is not a capability"))?;
        wanted |= capability.bitmask();
    }
    Ok(wanted)
}

/// Their names, as `setcap` takes them, in order.
pub fn names(capabilities: u64) -> Vec<String> {
    let all = caps::all().into_iter().filter(|capability| capabilities & capability.bitmask() != 0);
    let mut names: Vec<String> = all.map(|capability| capability.to_string().to_ascii_lowercase()).collect();
    names.sort();
    names
}

/// Those that we hold.
pub fn held() -> u64 {
    caps::read(None, CapSet::Permitted).map(mask).unwrap_or_default()
}

/// Whether a file has any to give.
pub fn are_carried_by(file: &Path) -> bool {
    attribute(file).is_some_and(|value| !value.is_empty())
}

/// Those that a file gives to whoever executes it: the permitted set, if it is effective at once.
pub fn of_file(file: &Path) -> u64 {
    attribute(file).and_then(|value| parse_attribute(&value)).unwrap_or(0)
}

/// Why the kernel takes no notice of the capabilities that a file carries, if it does not.
pub fn are_ignored(carrier: &Path) -> Option<String> {
    let file = carrier.display();
    if nix::sys::prctl::get_no_new_privs().unwrap_or(false) {
        return Some(format!("we were started with `no_new_privs`, so the capabilities of `{file}` have no effect"));
    }
    let is_nosuid = statvfs(carrier).ok()?.flags().contains(FsFlags::ST_NOSUID);
    is_nosuid.then(|| format!("`{file}` lies on a file system mounted `nosuid`, so its capabilities have no effect"))
}

fn mask(set: CapsHashSet) -> u64 {
    set.into_iter().fold(0, |mask, capability| mask | capability.bitmask())
}

/// `security.capability` of a file, links followed.
fn attribute(file: &Path) -> Option<Vec<u8>> {
    let path = CString::new(file.as_os_str().as_bytes()).ok()?;
    let mut value = [0_u8; 64];
    // SAFETY: both strings end with NUL and the buffer is as long as we say.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    Some(value.get(..usize::try_from(length).ok()?)?.to_vec())
}

/// `struct vfs_cap_data` (linux/capability.h): flags and version, then permitted and inheritable, low and high halves.
fn parse_attribute(value: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?)));
    let flags = word(0)?;
    let is_effective = flags & 1 == 1;
    if !is_effective {
        return None;
    }
    let permitted = word(4)? | word(12).unwrap_or(0) << 32;
    Some(permitted & mask(caps::all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        let parsed = |list: &[&str]| parse(&list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            parsed(&["SYS_PTRACE", "cap_kill"]),
            Ok(Capability::CAP_SYS_PTRACE.bitmask() | Capability::CAP_KILL.bitmask())
        );
        assert_eq!(parsed(&crate::model::kernel::CAPABILITIES), Ok(mask(caps::all())));
        assert_eq!(parsed(&["FLY"]), Err("`FLY` is not a capability".to_owned()));
        assert_eq!(names(parsed(&["SYS_PTRACE", "KILL"]).unwrap()), ["cap_kill", "cap_sys_ptrace"]);
    }

    #[test]
    fn the_attribute_of_a_file_is_read() {
        // `setcap cap_sys_ptrace,cap_net_bind_service+ep`, as the kernel stores it.
        let value = [1, 0, 0, 2, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let carried = Capability::CAP_SYS_PTRACE.bitmask() | Capability::CAP_NET_BIND_SERVICE.bitmask();
        assert_eq!(parse_attribute(&value), Some(carried));
        let not_effective = [0, 0, 0, 2, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_attribute(&not_effective), None);
        assert_eq!(parse_attribute(&[]), None);
    }
}
