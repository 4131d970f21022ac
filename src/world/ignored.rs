//! Names that tools, editors and version control write for themselves: no change of them means anything.

use std::ffi::OsStr;

const NAMES: [&str; 6] = [".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv"];

/// Whether a file or directory of this name never counts: `.git`, `__pycache__`, `*.pyc`, editors' swap and backup files, our
/// own `.baistack`.
pub fn is_ignored(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || name == ".baistack" || name.ends_with(".pyc") || is_of_an_editor(name)
}

/// Swap, backup and probe files: vim's `.f.swp`, `.f.swx` and `4913`, emacs' `f~`, `#f#` and `.#f`, `JetBrains`' `___jb_tmp___`.
fn is_of_an_editor(name: &str) -> bool {
    let vim_swap = name.rsplit_once('.').is_some_and(|(stem, end)| stem.starts_with('.') && matches!(end, "swp" | "swo" | "swx"));
    let emacs = name.ends_with('~') || name.starts_with(".#") || (name.starts_with('#') && name.ends_with('#'));
    vim_swap || emacs || name == "4913" || name.ends_with("___jb_tmp___") || name.ends_with("___jb_old___")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_write_for_themselves_is_ignored() {
        for name in [".git", "__pycache__", "a.pyc", ".a.py.swp", "a.py~", "#a.py#", ".#a.py", "4913", ".baistack"] {
            assert!(is_ignored(OsStr::new(name)), "{name}");
        }
        for name in ["a.py", "git", ".gitignore", "a.swp", "venv", "49131", ".env"] {
            assert!(!is_ignored(OsStr::new(name)), "{name}");
        }
    }
}
