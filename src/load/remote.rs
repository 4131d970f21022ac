//! Stack files that lie elsewhere: an application in a registry (`oci://…`), a directory of a git repository. What their names mean;
//! whoever gives the loader its files fetches them.

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
