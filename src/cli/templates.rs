//! Stacks that come with the program, as files of it: what `init TEMPLATE` writes.

/// One of them: a directory of `stacks/`.
#[derive(Debug)]
pub struct Template {
    /// What it is called, and the name of its directory.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// Its files: where, from its directory, and what stands in them.
    pub files: &'static [(&'static str, &'static [u8])],
}

macro_rules! template {
    ($name:literal, $about:literal, [$($file:literal),* $(,)?]) => {
        Template {
            name: $name,
            about: $about,
            files: &[$(($file, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/stacks/", $name, "/", $file)))),*],
        }
    };
}

/// All of them.
pub const TEMPLATES: [Template; 4] = [
    template!(
        "quickstart",
        "a container, two processes and a task that makes their program",
        ["README.md", "app.rs", "site/index.html", "stack.yaml"]
    ),
    template!(
        "compose",
        "a Compose file as it is, and a program of this machine beside it",
        ["README.md", "compose.yaml", "site/index.html", "stack.yaml"]
    ),
    template!(
        "backend.ai",
        "Backend.AI 23.09 from PyPI: databases as containers, the daemons as processes",
        [
            ".env",
            "README.md",
            "config/agent.toml",
            "config/alembic.ini",
            "config/etcd-config.json",
            "config/etcd-config.offline.json",
            "config/etcd-volumes.json",
            "config/manager.toml",
            "config/storage-proxy.toml",
            "config/webserver.conf",
            "constraints.txt",
            "data.py",
            "docker-compose.halfstack.yml",
            "fixtures/dev-main-keys.json",
            "fixtures/dev.json",
            "images/etcd/Dockerfile",
            "images/kernel-python/Dockerfile",
            "images/postgres/Dockerfile",
            "images/postgres/entrypoint.sh",
            "images/redis/Dockerfile",
            "images/redis/entrypoint.sh",
            "mgr.py",
            "mkvenv.sh",
            "offline.yaml",
            "stack.yaml",
            "test-requirements.txt",
        ]
    ),
    template!(
        "backend.ai-next",
        "Backend.AI as it is today, from one checkout: halfstack with profiles, app-proxy, sftp agent",
        [
            ".env",
            "README.md",
            "bin/backend.ai",
            "bin/bai",
            "config/agent-sftp.toml",
            "config/agent.toml",
            "config/alembic-appproxy.ini",
            "config/alembic.ini",
            "config/app-proxy-coordinator.toml",
            "config/app-proxy-worker.toml",
            "config/appproxy.sql",
            "config/etcd-config.json",
            "config/etcd-volumes.json",
            "config/gateway.config.ts",
            "config/manager.toml",
            "config/prometheus.yaml",
            "config/resource-group.sql",
            "config/storage-proxy.toml",
            "config/upload-group.sql",
            "config/vfolder-hosts.sql",
            "config/webserver.conf",
            "docker-compose.halfstack-main.yml",
            "env_files.py",
            "images/offline/Dockerfile",
            "images/offline/entrypoint.sh",
            "mgr.py",
            "offline.yaml",
            "stack.yaml",
        ]
    ),
];

impl Template {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_template_is_the_whole_of_its_directory() {
        let stacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks");
        let mut directories: Vec<String> = std::fs::read_dir(&stacks)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| stacks.join(name).is_dir() && !name.starts_with('.'))
            .collect();
        directories.sort();
        let mut names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        names.sort_unstable();
        assert_eq!(names, directories);
        for template in &TEMPLATES {
            let directory = stacks.join(template.name);
            let mut files = Vec::new();
            let mut waiting = vec![directory.clone()];
            while let Some(place) = waiting.pop() {
                for entry in std::fs::read_dir(place).unwrap().map(Result::unwrap) {
                    match entry.file_type().unwrap().is_dir() {
                        // What an environment has made there.
                        true if entry.file_name() == ".baistack" => {}
                        true => waiting.push(entry.path()),
                        false => files.push(entry.path().strip_prefix(&directory).unwrap().display().to_string()),
                    }
                }
            }
            files.sort();
            let carried: Vec<_> = template.files.iter().map(|(name, _)| *name).collect();
            assert_eq!(carried, files, "{}", template.name);
            for (name, content) in template.files {
                let mode = directory.join(name).metadata().unwrap().permissions().mode();
                assert_eq!(super::super::init::mode(content) & 0o100, mode & 0o100, "{name}");
            }
        }
    }
}
