//! The files that processes are given copies of.

use std::collections::BTreeSet;
use std::fs;

use crate::model::stack::Stack;
use crate::plan::hash;

/// Notes what the files of configs and secrets hold that processes are given. One that cannot be read is told of elsewhere.
pub fn note_granted(stack: &mut Stack) {
    let granted = |configs: bool| -> BTreeSet<String> {
        let processes = stack.services.values().chain(stack.disabled.values()).filter(|service| service.is_process());
        let grants = processes.flat_map(|service| if configs { &service.common.configs } else { &service.common.secrets });
        grants.map(|grant| grant.source.clone()).collect()
    };
    let (configs, secrets) = (granted(true), granted(false));
    for (objects, granted) in [(&mut stack.configs, configs), (&mut stack.secrets, secrets)] {
        for (_, object) in objects.iter_mut().filter(|(name, _)| granted.contains(*name)) {
            let content = object.file.as_ref().and_then(|file| fs::read(file).ok());
            object.digest = content.map(|content| hash::digest(&content));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::secret::FileObject;
    use crate::plan::hash::ConfigHash;

    #[test]
    fn the_content_of_a_file_is_part_of_what_a_process_is_and_not_of_what_a_container_is() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("web.conf");
        let grants = json!({"configs": [{"source": "c"}]});
        let mut stack = serde_json::to_value(Stack::default()).unwrap();
        stack["services"] = json!({
            "job": {"common": grants, "kind": {"process": {"command": "run"}}},
            "box": {"common": grants, "kind": {"container": {"image": "image"}}},
        });
        let mut stack: Stack = serde_json::from_value(stack).unwrap();
        stack.configs.insert("c".to_owned(), FileObject { file: Some(file.clone()), ..FileObject::default() });
        let mut hashes = |content: &str| {
            fs::write(&file, content).unwrap();
            note_granted(&mut stack);
            ["job", "box"].map(|name| ConfigHash::of(&stack.services[name], &stack, &"e".parse().unwrap()))
        };
        let [first, again, other] = [hashes("a"), hashes("a"), hashes("b")];
        assert_eq!(first, again);
        assert_ne!(first[0], other[0]);
        assert_eq!(first[1], other[1]);
    }
}
