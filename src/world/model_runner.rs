//! Docker's model runner, as its plugin of Docker's command line (`docker-model`) speaks for it: which models there are, and where
//! they are served. Called as Compose calls it (docker/compose, `pkg/compose/model.go`); when, others decide.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use indexmap::IndexMap;
use serde::Deserialize;

use super::provider;
use crate::model::language_model::LanguageModel;
use crate::plan::action::Fault;

/// The plugin's name.
const PLUGIN: &str = "model";

/// The first release that takes the options of the program that runs a model.
const WITH_RUNTIME_FLAGS: [u64; 3] = [1, 0, 6];

/// The plugin, found and asked what it is.
#[derive(Debug)]
pub struct ModelRunner {
    file: PathBuf,
    version: String,
    environment: IndexMap<String, String>,
}

impl ModelRunner {
    /// Finds it where Docker's command line would in this environment.
    pub fn find(environment: &IndexMap<String, String>) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Metadata {
            #[serde(default)]
            version: String,
        }
        let file = provider::plugin(PLUGIN, environment)
            .ok_or_else(|| Fault::permanent("there is no plugin `docker-model` of Docker's command line"))?;
        let mut runner = Self { file, version: String::new(), environment: environment.clone() };
        let metadata: Metadata = runner.parsed(&["docker-cli-plugin-metadata"])?;
        runner.version = metadata.version;
        Ok(runner)
    }

    /// Whether it takes the options of the program that runs a model.
    pub fn takes_runtime_flags(&self) -> bool {
        let numbers = self.version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u64>);
        let numbers: Vec<u64> = numbers.map_while(Result::ok).collect();
        !numbers.is_empty() && numbers.as_slice() >= &WITH_RUNTIME_FLAGS[..]
    }

    /// Its release, as it tells it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The models that are there, by all their names.
    pub fn available(&self) -> Result<BTreeSet<String>, Fault> {
        #[derive(Deserialize)]
        struct Available {
            #[serde(default)]
            tags: Vec<String>,
        }
        let listed: Option<Vec<Available>> = self.parsed(&["ls", "--json"])?;
        Ok(listed.unwrap_or_default().into_iter().flat_map(|model| model.tags).collect())
    }

    /// Fetches a model.
    pub fn pull(&self, model: &LanguageModel) -> Result<(), Fault> {
        self.output(&["pull", &model.model]).map(drop)
    }

    /// Says how a model is to be run.
    pub fn configure(&self, model: &LanguageModel) -> Result<(), Fault> {
        let mut words = vec!["configure".to_owned()];
        if let Some(size) = model.context_size.filter(|size| *size > 0) {
            words.extend(["--context-size".to_owned(), size.to_string()]);
        }
        words.push(model.model.clone());
        if !model.runtime_flags.is_empty() {
            words.push("--".to_owned());
            words.extend(model.runtime_flags.iter().cloned());
        }
        self.output(&words).map(drop)
    }

    /// Where models are served.
    pub fn endpoint(&self) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            endpoint: String,
        }
        let status: Status = self.parsed(&["status", "--json"])?;
        if status.endpoint.is_empty() {
            return Err(Fault::permanent("`docker model status` tells no address: is the model runner on?"));
        }
        Ok(status.endpoint)
    }

    fn parsed<T: for<'de> Deserialize<'de>>(&self, words: &[&str]) -> Result<T, Fault> {
        let output = self.output(words)?;
        serde_json::from_slice(&output).map_err(|error| {
            Fault::permanent(format!("`{} {}` gave what cannot be understood: {error}", self.file.display(), words.join(" ")))
        })
    }

    fn output<T: AsRef<std::ffi::OsStr>>(&self, words: &[T]) -> Result<Vec<u8>, Fault> {
        let mut command = Command::new(&self.file);
        command.args(words).env_clear().envs(&self.environment).stdin(Stdio::null());
        let output = command.output().map_err(|error| Fault::permanent(format!("run `{}`: {error}", self.file.display())))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        // What went wrong is told on either stream.
        let said = [&output.stderr, &output.stdout].map(|said| String::from_utf8_lossy(said).trim().to_owned());
        let said = said.into_iter().find(|said| !said.is_empty()).unwrap_or_else(|| output.status.to_string());
        Err(Fault::permanent(format!("`docker model {}` failed: {said}", words.join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_program_are_taken_from_a_release_on() {
        for (version, expected) in [
            ("v1.0.6", true),
            ("1.0.6", true),
            ("v1.0.10-rc1", true),
            ("v2.0", true),
            ("v1.0.5", false),
            ("v0.9.9", false),
            ("", false),
            ("devel", false),
        ] {
            let runner = ModelRunner { file: PathBuf::new(), version: version.to_owned(), environment: IndexMap::new() };
            assert_eq!(runner.takes_runtime_flags(), expected, "{version}");
        }
    }
}
