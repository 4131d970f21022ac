//! The table as a JSON Schema (draft 7), with which editors complete and check stack files.
//!
//! An expression (`${PORT}`) may stand wherever a text may; what it makes of a number or a word is not known to an editor, so
//! those shapes let it through.

use serde_json::{Map, Value, json};

use super::{Attribute, OWN_KEYS, Object, ROOT, Shape};

/// The schema of a stack file.
pub(in crate::load) fn json_schema() -> Value {
    let mut schema = object(&ROOT);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for key in OWN_KEYS {
            if let Some(own) = properties.get(key).cloned() {
                properties.insert(format!("x-{key}"), own);
            }
        }
    }
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Stack file",
        "description": "Containers and native processes of one development stack: the Compose Specification and `processes`.",
    });
    let mut whole = head.as_object().cloned().unwrap_or_default();
    whole.extend(schema.as_object().cloned().unwrap_or_default());
    Value::Object(whole)
}

fn object(known: &Object) -> Value {
    let properties: Map<String, Value> =
        known.attributes.iter().map(|attribute| (attribute.name.to_owned(), property(attribute))).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": {} },
        "additionalProperties": false,
    });
    let required: Vec<&str> =
        known.attributes.iter().filter(|attribute| attribute.required).map(|attribute| attribute.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(attribute: &Attribute) -> Value {
    let mut schema = shape(&attribute.shape);
    if attribute.nullable {
        schema = json!({ "anyOf": [schema, { "type": "null" }] });
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), attribute.doc.into());
    }
    schema
}

fn shape(of: &Shape) -> Value {
    let expression = || json!({ "type": "string", "pattern": "\\$" });
    match of {
        Shape::Any => json!({}),
        Shape::Text | Shape::Path | Shape::PathOrUrl | Shape::Duration => json!({ "type": "string" }),
        Shape::Word(words) => json!({ "anyOf": [{ "enum": words }, expression()] }),
        Shape::Checked(check) => json!({ "anyOf": [{ "type": "string", "pattern": check.pattern }, expression()] }),
        Shape::Flag => json!({ "type": ["boolean", "string"] }),
        Shape::Whole(least, most) => {
            let mut schema = json!({ "type": ["integer", "string"] });
            if *least != i64::MIN {
                schema["minimum"] = json!(least);
            }
            if *most != i64::MAX {
                schema["maximum"] = json!(most);
            }
            schema
        }
        Shape::Number => json!({ "type": ["number", "string"] }),
        Shape::Bytes => json!({ "type": ["integer", "string"] }),
        Shape::Single => json!({ "type": ["string", "number", "boolean"] }),
        Shape::SingleOrNull => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::List(items) => json!({ "type": "array", "items": shape(items) }),
        Shape::Map(values) => json!({ "type": "object", "additionalProperties": shape(values) }),
        Shape::Named(values) => {
            let may_be_empty = matches!(values.long(), Shape::Object(known) if known.attributes.iter().all(|a| !a.required))
                && !known_services(values);
            let values = shape(values);
            let values = if may_be_empty { json!({ "anyOf": [values, { "type": "null" }] }) } else { values };
            json!({ "type": "object", "propertyNames": { "pattern": "^[a-zA-Z0-9._-]+$" }, "additionalProperties": values })
        }
        Shape::Object(known) => object(known),
        Shape::Forms(forms) => {
            let (lists, others): (Vec<&Shape>, Vec<&Shape>) =
                forms.short.iter().chain([forms.long]).partition(|form| matches!(form, Shape::List(_)));
            let items: Vec<Value> =
                lists.iter().filter_map(|list| if let Shape::List(items) = list { Some(shape(items)) } else { None }).collect();
            // Short and long entries may stand in one list.
            let list = (!items.is_empty()).then(|| json!({ "type": "array", "items": one_of(items) }));
            one_of(others.into_iter().map(shape).chain(list).collect())
        }
    }
}

fn one_of(mut all: Vec<Value>) -> Value {
    if all.len() == 1 { all.remove(0) } else { json!({ "anyOf": all }) }
}

/// A service that says nothing is none.
fn known_services(values: &Shape) -> bool {
    matches!(values.long(), Shape::Object(known) if known.is(&super::CONTAINER) || known.is(&super::PROCESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_entries_may_stand_in_one_list() {
        let schema = json_schema();
        let volumes = &schema["properties"]["services"]["additionalProperties"]["properties"]["volumes"];
        let kinds: Vec<&str> =
            (volumes["items"]["anyOf"].as_array().into_iter().flatten()).filter_map(|form| form["type"].as_str()).collect();
        assert_eq!((volumes["type"].as_str(), kinds), (Some("array"), vec!["string", "object"]));
    }

    #[test]
    fn an_editor_is_told_what_there_is_what_it_means_and_what_has_to_be_there() {
        let schema = json_schema();
        let web = &schema["properties"]["services"]["additionalProperties"];
        assert_eq!(web["additionalProperties"], false);
        assert_eq!(web["properties"]["tty"]["description"], "A terminal of its own.");
        let edge = &web["properties"]["depends_on"]["anyOf"][0]["additionalProperties"];
        assert_eq!(edge["required"], json!(["condition"]));
        assert!(schema["properties"]["x-processes"].is_object() && schema["properties"]["processes"].is_object());
    }
}
