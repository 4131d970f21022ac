//! `models`: language models that Docker's model runner serves, and how the services that use one are told of it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::service::Kind;
use super::stack::Stack;

/// A language model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LanguageModel {
    /// What is pulled and run, `ai/smollm2`.
    pub model: String,
    /// Tokens of context; the runner's own number where nothing is said.
    pub context_size: Option<i64>,
    /// Options of the program that runs it.
    pub runtime_flags: Vec<String>,
}

/// The use of a model by a service: in which variables it is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelUse {
    /// Gets the runner's address; else `<NAME>_URL`.
    pub endpoint_var: Option<String>,
    /// Gets the model; else `<NAME>_MODEL`.
    pub model_var: Option<String>,
}

/// Tells all services that use models where these are served. As in Compose that goes before what the service says itself.
pub fn tell(stack: &mut Stack, endpoint: &str) {
    let Stack { services, disabled, models, .. } = stack;
    for service in services.values_mut().chain(disabled.values_mut()) {
        let Kind::Container(container) = &service.kind else { continue };
        let told = variables(&container.models, models, endpoint);
        service.common.environment.extend(told.into_iter().map(|(name, value)| (name, Some(value))));
    }
}

fn variables(
    uses: &IndexMap<String, Option<ModelUse>>,
    models: &IndexMap<String, LanguageModel>,
    endpoint: &str,
) -> Vec<(String, String)> {
    let told = uses.iter().filter_map(|(name, used)| {
        let model = models.get(name)?;
        let prefix = name.to_uppercase().replace('-', "_");
        let ModelUse { endpoint_var, model_var } = used.clone().unwrap_or_default();
        let named = |own: Option<String>, usual: &str| own.filter(|own| !own.is_empty()).unwrap_or(format!("{prefix}_{usual}"));
        Some([(named(model_var, "MODEL"), model.model.clone()), (named(endpoint_var, "URL"), endpoint.to_owned())])
    });
    told.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_of_its_models_in_the_variables_that_it_names() {
        let models = ["my-llm", "other"].map(|name| {
            let model = LanguageModel { model: format!("ai/{name}"), ..LanguageModel::default() };
            (name.to_owned(), model)
        });
        let own = ModelUse { endpoint_var: Some("WHERE".to_owned()), model_var: None };
        let uses = [("my-llm".to_owned(), None), ("other".to_owned(), Some(own)), ("unknown".to_owned(), None)];
        let told = variables(&uses.into_iter().collect(), &models.into_iter().collect(), "http://runner/");
        let told: Vec<String> = told.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = ["MY_LLM_MODEL=ai/my-llm", "MY_LLM_URL=http://runner/", "OTHER_MODEL=ai/other", "WHERE=http://runner/"];
        assert_eq!(told, expected);
    }
}
