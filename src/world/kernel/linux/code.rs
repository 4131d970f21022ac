//! Memory that has done its work: the code of this program, and what its start has taken and freed.

use std::ffi::{c_int, c_void};
use std::slice;

use libc::{PF_W, PT_LOAD, dl_phdr_info};

/// Gives back the pages of code and constants, this program's and its libraries', that are in memory for us: most were needed once, to
/// read arguments and files and to start. What is needed again comes from the kernel's cache of these files, a few pages at a time.
/// Gives back as well what the heap has kept of what was freed since.
pub fn give_back() {
    // glibc keeps freed memory for the next who asks; other C libraries have no such call.
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: the callback does as dl_iterate_phdr(3) wants it, and is given no data.
    unsafe { libc::dl_iterate_phdr(Some(give_back_object), std::ptr::null_mut()) };
}

/// Does so for the program or one library.
///
/// # Safety
///
/// Only for `dl_iterate_phdr`, whose `info` is valid during the call.
unsafe extern "C" fn give_back_object(info: *mut dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for `info`, whose headers and name it keeps as long as the object is loaded.
    let (base, headers, name) = unsafe {
        let info = &*info;
        let headers = slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr as usize, headers, *info.dlpi_name.cast::<u8>())
    };
    // The program has no name, libraries have a path; the kernel's own object is no file.
    if name != 0 && name != b'/' {
        return 0;
    }
    let page = usize::try_from(procfs::page_size()).unwrap_or(4096);
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let begin = base + header.p_vaddr as usize;
        let end = begin + header.p_memsz as usize;
        let begin = begin - begin % page;
        // SAFETY: a segment that is mapped from its file and that nobody ever writes to: relocated data stands in those that are
        // writable, also where they are made read-only afterwards. What is dropped is read from the file at its next use (madvise(2)).
        unsafe { libc::madvise(begin as *mut c_void, end - begin, libc::MADV_DONTNEED) };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_comes_again() {
        let resident = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before, "{before} kB, then {after} kB");
        assert_eq!(format!("{:?}", ["still", "here"]), r#"["still", "here"]"#);
    }
}
