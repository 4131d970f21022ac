//! The files of a container: in and out as archives (`cp`), all of them (`export`), and as a new image (`commit`).

use std::io;

use bollard::models::ContainerConfig;
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::connect::Link;
use super::mounts::{self, WrittenFile};
use super::{Docker, error};
use crate::plan::action::Fault;

/// The bit that Go's `os.FileMode` has for a directory.
const IS_DIRECTORY: u32 = 1 << 31;
/// The one that it has for a symbolic link.
const IS_LINK: u32 = 1 << 27;

/// Bytes of an archive.
pub type Archive = BoxStream<'static, Result<Vec<u8>, Fault>>;

/// A path inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInside {
    /// Its last part.
    pub name: String,
    /// It is a directory.
    pub is_directory: bool,
    /// What a symbolic link leads to.
    pub link_target: Option<String>,
}

/// What `commit` makes.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Repository and tag.
    pub reference: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What it is.
    pub message: Option<String>,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// The container stands still meanwhile.
    pub pause: bool,
}

/// Whether a container holds all of these files, just so.
pub(super) async fn holds(link: &Link, container: &str, files: &[WrittenFile]) -> Result<bool, Fault> {
    for file in files {
        let options = DownloadFromContainerOptionsBuilder::default().path(&file.path).build();
        let api = link.patient();
        let mut chunks = api.download_from_container(container, Some(options));
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(bytes) => archive.extend_from_slice(&bytes),
                Err(error) if error::is_not_found(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        if !mounts::is_archive_of(&archive, file) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Docker {
    /// What a path inside a container is; none when there is nothing.
    pub async fn path_inside(&self, container: &str, path: &str) -> Result<Option<PathInside>, Fault> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        match self.link().await?.api.get_container_archive_info(container, Some(options)).await {
            Ok(stat) => Ok(Some(PathInside {
                name: stat.name,
                is_directory: stat.file_mode & IS_DIRECTORY != 0,
                link_target: Some(stat.link_target).filter(|target| stat.file_mode & IS_LINK != 0 && !target.is_empty()),
            })),
            Err(error) if error::is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A file or directory of a container as an archive, under its own name.
    pub async fn download(&self, container: &str, path: &str) -> Result<Archive, Fault> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let link = self.link().await?.patient();
        let chunks = link.download_from_container(container, Some(options));
        Ok(chunks.map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(Fault::from)).boxed())
    }

    /// Unpacks an archive in a directory of a container; with `keep_owners` its owners are kept.
    pub async fn upload(
        &self,
        container: &str,
        directory: &str,
        keep_owners: bool,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Fault> {
        let mut options = UploadToContainerOptionsBuilder::default().path(directory).no_overwrite_dir_non_dir("true");
        if keep_owners {
            options = options.copy_uidgid("true");
        }
        let api = self.link().await?.patient();
        Ok(api.upload_to_container(container, Some(options.build()), bollard::body_try_stream(archive)).await?)
    }

    /// The same for an archive that is read from somewhere.
    pub async fn upload_from(
        &self,
        container: &str,
        directory: &str,
        keep_owners: bool,
        reader: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<(), Fault> {
        let chunks = futures_util::stream::unfold(reader, async |mut reader| {
            let mut buffer = vec![0; 64 * 1024];
            match reader.read(&mut buffer).await {
                Ok(0) => None,
                Ok(read) => {
                    buffer.truncate(read);
                    Some((Ok(buffer.into()), reader))
                }
                Err(error) => Some((Err(error), reader)),
            }
        });
        self.upload(container, directory, keep_owners, chunks).await
    }

    /// All files of a container as an archive.
    pub async fn export(&self, container: &str) -> Result<Archive, Fault> {
        let chunks = self.link().await?.patient().export_container(container);
        Ok(chunks.map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(Fault::from)).boxed())
    }

    /// Makes an image of a container. Answers with its id.
    pub async fn commit(&self, container: &str, commit: &Commit) -> Result<String, Fault> {
        let mut options = CommitContainerOptionsBuilder::default().container(container).pause(commit.pause);
        let (repository, tag) = commit.reference.as_deref().map(super::image::split_tag).unzip();
        if let Some(repository) = repository {
            options = options.repo(repository).tag(tag.flatten().unwrap_or("latest"));
        }
        if let Some(message) = &commit.message {
            options = options.comment(message);
        }
        if let Some(author) = &commit.author {
            options = options.author(author);
        }
        let changes = commit.changes.join("\n");
        if !changes.is_empty() {
            options = options.changes(&changes);
        }
        let made = self.link().await?.patient().commit_container(options.build(), ContainerConfig::default()).await?;
        Ok(made.id)
    }
}
