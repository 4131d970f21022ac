//! The words and variables of a process, as `sysctl(KERN_PROCARGS2)` of macOS gives them.
//!
//! A count of words, the program's path, zeros up to a boundary, the words and the variables, each with a zero behind it
//! (`sysctl_procargsx` in `bsd/kern/kern_sysctl.c` of xnu). Variables are left out, without a word, of programs that are *restricted*:
//! Apple's own, as `/bin/sh`, where System Integrity Protection is on.

/// What a process was started with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Started<'a> {
    /// Its words, the name first.
    pub(super) words: Vec<&'a [u8]>,
    /// Its variables, `NAME=value`, as far as they may be seen.
    pub(super) variables: Vec<&'a [u8]>,
}

impl<'a> Started<'a> {
    /// Reads what the kernel gave; none of what is cut off before its words.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
        let path_end = memchr::memchr(0, rest)?;
        let rest = &rest[path_end..];
        let rest = &rest[rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len())..];
        // The last text may have been cut off with the zero behind it.
        let mut texts = rest.split(|byte| *byte == 0);
        let words: Vec<&[u8]> = texts.by_ref().take(count).collect();
        let variables = texts.take_while(|text| !text.is_empty()).collect();
        Some(Self { words, variables })
    }

    /// The value of a variable.
    pub(super) fn variable(&self, name: &str) -> Option<&'a [u8]> {
        self.variables.iter().find_map(|text| text.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(count: i32, rest: &[u8]) -> Vec<u8> {
        [count.to_ne_bytes().as_slice(), rest].concat()
    }

    #[test]
    fn words_and_variables_are_told_apart_by_their_count() {
        let bytes = given(3, b"/bin/prog\0\0\0\0\0prog\0\0-x\0A=1\0EMPTY=\0AB=2=3\0\0\0ptr_munge=\0");
        let started = Started::parse(&bytes).unwrap();
        assert_eq!(started.words, [b"prog".as_slice(), b"", b"-x"]);
        assert_eq!(started.variables, [b"A=1".as_slice(), b"EMPTY=", b"AB=2=3"]);
        assert_eq!(started.variable("AB"), Some(b"2=3".as_slice()));
        assert_eq!(started.variable("EMPTY"), Some(b"".as_slice()));
        assert_eq!(started.variable("B"), None);
    }

    #[test]
    fn what_is_hidden_or_cut_off_is_not_there() {
        let hidden = given(2, b"/bin/sh\0\0sh\0-c\0");
        assert_eq!(Started::parse(&hidden).unwrap().variables, [] as [&[u8]; 0]);
        let cut_off = given(9, b"/bin/sh\0\0sh\0-c");
        assert_eq!(Started::parse(&cut_off).unwrap().words, [b"sh".as_slice(), b"-c"]);
        assert_eq!(Started::parse(&given(1, b"/bin/sh")), None);
        assert_eq!(Started::parse(&given(-1, b"/bin/sh\0\0sh\0")), None);
        assert_eq!(Started::parse(&[0, 0]), None);
    }
}
