//! What the kernel tells of processes and of itself: `proc_pidinfo` (libproc.h) and sysctl(3), as values.

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::ptr;

use nix::errno::Errno;

/// A structure of sys/proc_info.h that `proc_pidinfo` fills in.
///
/// # Safety
///
/// `FLAVOR` is the flavor that fills in this very structure, and any bytes are one.
pub(super) unsafe trait Info: Sized {
    /// `PROC_PID…`.
    const FLAVOR: c_int;
    /// Its argument.
    const ARGUMENT: u64 = 0;
}

// SAFETY: as sys/proc_info.h has it; numbers and arrays of them.
unsafe impl Info for libc::proc_bsdinfo {
    const FLAVOR: c_int = libc::PROC_PIDTBSDINFO;
    /// Zombies, too (`proc_pidinfo` in bsd/kern/proc_info.c of xnu).
    const ARGUMENT: u64 = 1;
}

// SAFETY: as above.
unsafe impl Info for libc::proc_taskinfo {
    const FLAVOR: c_int = libc::PROC_PIDTASKINFO;
}

// SAFETY: as above.
unsafe impl Info for libc::proc_taskallinfo {
    const FLAVOR: c_int = libc::PROC_PIDTASKALLINFO;
}

/// Looks at a process; none if there is none of this id, or we may not look.
pub(super) fn of_process<T: Info>(pid: i32) -> Option<T> {
    let mut info = MaybeUninit::<T>::zeroed();
    let size = c_int::try_from(size_of::<T>()).ok()?;
    // SAFETY: the buffer is as long as we say.
    let filled = unsafe { libc::proc_pidinfo(pid, T::FLAVOR, T::ARGUMENT, info.as_mut_ptr().cast(), size) };
    // SAFETY: any bytes are a value, and the kernel has filled in all of them.
    (filled == size).then(|| unsafe { info.assume_init() })
}

/// The open descriptors of a process; none when we may not look.
pub(super) fn descriptors(pid: i32) -> Option<Vec<libc::proc_fdinfo>> {
    /// More than are opened between two calls.
    const ROOM: usize = 32;
    // SAFETY: without a buffer the kernel only says how large one would have to be.
    let needed = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, ptr::null_mut(), 0) };
    let needed = usize::try_from(needed).ok().filter(|needed| *needed > 0)?;
    let none = libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 };
    let mut found = vec![none; needed / size_of::<libc::proc_fdinfo>() + ROOM];
    let size = c_int::try_from(size_of_val(found.as_slice())).ok()?;
    // SAFETY: the buffer is as long as we say.
    let filled = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, found.as_mut_ptr().cast(), size) };
    found.truncate(usize::try_from(filled).ok()? / size_of::<libc::proc_fdinfo>());
    Some(found)
}

/// The ids of processes, by a kind of sys/proc_info.h (`PROC_ALL_PIDS`, …) and its value.
pub(super) fn list(kind: u32, value: u32) -> Vec<i32> {
    /// More than are made between two calls.
    const ROOM: usize = 64;
    // SAFETY: without a buffer the kernel only says how large one would have to be.
    let needed = unsafe { libc::proc_listpids(kind, value, ptr::null_mut(), 0) };
    let Ok(needed) = usize::try_from(needed) else { return Vec::new() };
    let mut found = vec![0_i32; needed / size_of::<i32>() + ROOM];
    let size = c_int::try_from(size_of_val(found.as_slice())).unwrap_or(c_int::MAX);
    // SAFETY: the buffer is as long as we say.
    let filled = unsafe { libc::proc_listpids(kind, value, found.as_mut_ptr().cast(), size) };
    found.truncate(usize::try_from(filled).unwrap_or(0) / size_of::<i32>());
    found.retain(|pid| *pid > 0);
    found
}

/// Reads a value of the kernel into a buffer; how many bytes of it that is.
pub(super) fn sysctl(name: &mut [c_int], buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut size = buffer.len();
    let count = u32::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    let (name, value) = (name.as_mut_ptr(), buffer.as_mut_ptr().cast::<c_void>());
    // SAFETY: name and buffer are as long as we say, and nothing is set.
    let read = unsafe { libc::sysctl(name, count, value, &raw mut size, ptr::null_mut(), 0) };
    Errno::result(read).map(|_| size)
}
