//! How long it takes to load stacks of 1, 200 and 2,000 services, and to print them: `config` without its start.
//!
//! ```console
//! $ cargo bench --bench load
//! ```

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use baistack::load::files::{FileKind, Files};
use baistack::load::{self, Loaded, Request, Values};
use baistack::yaml::emit;
use divan::Bencher;

/// A directory with one file.
struct One(String);

impl Files for One {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        (path == Path::new("/app/compose.yaml")).then_some(FileKind::File)
    }
}

/// Services with what services usually have, each waiting for another.
fn stack(services: usize) -> One {
    let mut text = "x-common: &common\n  restart: unless-stopped\n  logging: {driver: json-file, options: {max-size: 10m}}\n\
                    networks: {front: , back: }\nvolumes: {data: }\nservices:\n"
        .to_owned();
    for n in 0..services {
        let port = 1024 + n;
        write!(
            text,
            "  svc{n}:\n    <<: *common\n    image: registry.example.com/team/app:1.{n}\n    command: [serve, --port, '{port}']\n    \
             environment:\n      NAME: svc{n}\n      LEVEL: ${{LEVEL:-info}}\n      DATABASE_URL: postgres://u:p@db/app\n    \
             ports: ['{port}:80']\n    volumes: ['data:/data', './conf:/etc/app:ro']\n    labels: {{com.example.index: '{n}'}}\n    \
             healthcheck: {{test: [CMD, curl, localhost], interval: 10s, retries: 3}}\n    networks: [front, back]\n"
        )
        .expect("a text takes all");
        if n > 0 {
            writeln!(text, "    depends_on: {{svc{}: {{condition: service_healthy}}}}", (n - 1) / 2).expect("a text takes all");
        }
    }
    One(text)
}

fn load(files: &One) -> Loaded {
    let request = Request {
        working_dir: PathBuf::from("/app"),
        files: vec![PathBuf::from("compose.yaml")],
        environment: [("HOME".to_owned(), "/home/me".to_owned())].into(),
        ..Request::default()
    };
    let (head, ..) = load::head(&request, files);
    let values = Values { env_id: "app".parse().expect("a name"), predefined: [].into(), ports: [].into(), generated: [].into() };
    let loaded = load::stack(&request, &head, &values, files);
    assert!(!loaded.diagnostics.has_errors());
    loaded
}

#[divan::bench(args = [1, 200, 2000])]
fn loaded(bencher: Bencher<'_, '_>, services: usize) {
    let files = stack(services);
    bencher.bench(|| load(&files));
}

#[divan::bench(args = [1, 200, 2000])]
fn loaded_and_printed(bencher: Bencher<'_, '_>, services: usize) {
    let files = stack(services);
    bencher.bench(|| {
        let mut tree = load(&files).tree;
        load::json_spelling(&mut tree);
        emit::to_json(&tree)
    });
}

fn main() {
    divan::main();
}
