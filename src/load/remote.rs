//! Stack files that lie elsewhere: an application in a registry (`oci://…`), a directory of a git repository. What their names mean;
//! whoever gives the loader its files fetches them.

use std::borrow::Cow;
use std::ops::Range;

/// Something that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remote {
    /// An application that was published to a registry; its reference.
    Application(String),
    /// A file in a git repository, or a directory that has a stack file.
    Repository(InRepository),
}

/// A place in a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InRepository {
    /// The repository, as `git` takes it.
    pub url: String,
    /// A branch, a tag or a commit; none is what the repository has as its own branch.
    pub reference: Option<String>,
    /// Relative to the repository; none is its root.
    pub path: Option<String>,
}

impl Remote {
    /// What stays when a tag or a branch moves, or another one is asked for: which stack it is.
    pub fn identity(&self) -> String {
        match self {
            Self::Application(reference) => {
                let name = reference.split('@').next().unwrap_or_default();
                let begin = name.rfind('/').map_or(0, |slash| slash + 1);
                let end = name[begin..].find(':').map_or(name.len(), |colon| begin + colon);
                format!("oci://{}", &name[..end])
            }
            Self::Repository(InRepository { url, path, .. }) => {
                let path = path.as_deref().map(|path| format!("#:{}", path.trim_matches('/'))).unwrap_or_default();
                format!("{}{path}", shown(url))
            }
        }
    }
}

/// An address as it may be shown: who one is there, and the password, are nobody else's business.
pub fn shown(address: &str) -> String {
    match who_in(address) {
        Some(who) => format!("{}{}", &address[..who.start], &address[who.end..]),
        None => address.to_owned(),
    }
}

/// Some lines of a file as they may be shown: who one is by the addresses in them is not to be read, and every place stays where it is.
pub fn starred(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let end =
            text[start..].find(|c: char| "/#?\"'`,;".contains(c) || c.is_whitespace()).map_or(text.len(), |end| start + end);
        let Some(who) = text[start..end].rfind('@').filter(|_| !text[..at].ends_with("ssh") || text[start..end].contains(':'))
        else {
            continue;
        };
        shown.to_mut().replace_range(start..start + who, &"*".repeat(who));
    }
    shown
}

/// A text that may mention an address, without who one is there.
pub fn without_who(text: &str, address: &str) -> String {
    who_in(address).map_or_else(|| text.to_owned(), |who| text.replace(&address[who], ""))
}

/// Where an address says who one is, with the `@` behind it. That of `ssh` is part of the place, unless it has a password.
fn who_in(address: &str) -> Option<Range<usize>> {
    let start = address.find("://")? + 3;
    let end = address[start..].find(['/', '#', '?']).map_or(address.len(), |end| start + end);
    let who = start..start + address[start..end].rfind('@')? + 1;
    let is_place = address.starts_with("ssh://") && !address[who.clone()].contains(':');
    (!is_place && who.len() > 1).then_some(who)
}

/// What a text that could name a file names elsewhere; none where it is a path of this host.
///
/// As in Compose (moby/buildkit, `util/gitutil`): addresses with `git://`, `ssh://` or `git@HOST:`, with `http(s)://` those that end in
/// `.git`, and `github.com/…`; all with `#REFERENCE:DIRECTORY` behind them.
pub fn of(text: &str) -> Option<Remote> {
    if let Some(reference) = text.strip_prefix("oci://") {
        return Some(Remote::Application(reference.to_owned()));
    }
    let (url, fragment) = text.split_once('#').map_or((text, ""), |(url, fragment)| (url, fragment));
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    let is_git = is_web && url.ends_with(".git") || ["git://", "ssh://", "git@"].iter().any(|begin| url.starts_with(begin));
    let url = if is_git { url.to_owned() } else { format!("https://{}", url.strip_prefix("github.com/").map(|_| url)?) };
    let (reference, path) = fragment.split_once(':').unwrap_or((fragment, ""));
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Some(Remote::Repository(InRepository { url, reference: given(reference), path: given(path) }))
}

/// Whether a text is an address, though nothing that could be fetched.
pub(super) fn is_address(text: &str) -> bool {
    text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_stack_it_is_does_not_depend_on_its_edition_or_on_who_asks() {
        for (text, expected) in [
            ("oci://localhost:5000/me/app:1", "oci://localhost:5000/me/app"),
            ("oci://localhost:5000/app@sha256:00", "oci://localhost:5000/app"),
            ("oci://localhost:5000/app", "oci://localhost:5000/app"),
            ("oci://app:1@sha256:00", "oci://app"),
            ("https://me:word@example.com/a.git#v1:sub/", "https://example.com/a.git#:sub"),
            ("https://example.com/a.git#v1", "https://example.com/a.git"),
            ("git@example.com:me/a.git#v1:b", "git@example.com:me/a.git#:b"),
        ] {
            assert_eq!(of(text).unwrap().identity(), expected, "{text}");
        }
    }

    #[test]
    fn who_one_is_elsewhere_is_not_shown() {
        for (address, expected) in [
            ("https://me:word@example.com/a.git#v1", "https://example.com/a.git#v1"),
            ("https://token@example.com/a.git", "https://example.com/a.git"),
            ("https://me:w@rd@example.com/a@b.git", "https://example.com/a@b.git"),
            ("ssh://git@example.com/a", "ssh://git@example.com/a"),
            ("ssh://git:word@example.com/a", "ssh://example.com/a"),
            ("git@example.com:a.git", "git@example.com:a.git"),
            ("https://example.com/a.git#x@y", "https://example.com/a.git#x@y"),
            ("./stack.yaml", "./stack.yaml"),
        ] {
            assert_eq!(shown(address), expected);
        }
        let lines = "a: https://me:word@x/a.git # postgres://é@db, https://x/@y ssh://git@x\n";
        assert_eq!(starred(lines), "a: https://*******@x/a.git # postgres://**@db, https://x/@y ssh://git@x\n");
        let said = without_who("fatal: 'https://me:word@x/a.git' (me:word@x)", "https://me:word@x/a.git");
        assert_eq!(said, "fatal: 'https://x/a.git' (x)");
    }

    #[test]
    fn what_lies_elsewhere_is_known_by_its_address() {
        let git = |url: &str, reference: &str, path: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Some(Remote::Repository(InRepository { url: url.to_owned(), reference: given(reference), path: given(path) }))
        };
        for (text, expected) in [
            ("oci://localhost:5000/app:1", Some(Remote::Application("localhost:5000/app:1".to_owned()))),
            ("https://example.com/a.git", git("https://example.com/a.git", "", "")),
            ("https://example.com/a.git#v1:sub/dir", git("https://example.com/a.git", "v1", "sub/dir")),
            ("https://example.com/a.git#:sub", git("https://example.com/a.git", "", "sub")),
            ("git@example.com:me/a.git#main", git("git@example.com:me/a.git", "main", "")),
            ("git://localhost/a", git("git://localhost/a", "", "")),
            ("ssh://git@example.com/a", git("ssh://git@example.com/a", "", "")),
            ("github.com/me/a#main", git("https://github.com/me/a", "main", "")),
            ("https://example.com/a.yaml", None),
            ("compose.yaml", None),
            ("./git@x", None),
            ("a#b.yaml", None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
