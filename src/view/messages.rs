//! Messages as a user sees them: one mistake each, from the file to the drawn finding.

use std::path::Path;

use super::diagnostics::{Look, render};
use crate::load::testing::load;

/// All that is said about a stack of one file.
fn said(text: &str) -> String {
    let mut loaded = load(&[("stack.yaml", text)]);
    loaded.diagnostics.extend(std::mem::take(&mut loaded.unstartable));
    let look = Look { directory: Path::new("/app"), color: false, width: None };
    render(&loaded.diagnostics, &loaded.sources, &look).trim_end().to_owned()
}

macro_rules! message {
    ($($name:ident: $text:expr;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(said($text));
            }
        )*
    };
}

message! {
    a_mistyped_attribute: "services:\n  web:\n    image: x\n    helthcheck: {test: x}\n";
    a_mistyped_attribute_deep_inside: "networks:\n  n:\n    ipam:\n      config:\n        - {subnett: 10.0.0.0/8}\n";
    a_number_where_a_text_is_wanted: "services:\n  web:\n    image: x\n    hostname: 5\n";
    a_word_that_is_none: "services:\n  db: {image: x}\n  web:\n    image: x\n    depends_on: {db: {condition: service_ready}}\n";
    a_condition_is_missing: "services:\n  db: {image: x}\n  web:\n    image: x\n    depends_on: {db: {restart: true}}\n";
    a_duration_without_a_unit: "services:\n  web:\n    image: x\n    stop_grace_period: '5'\n";
    a_duration_that_is_a_number: "services:\n  web:\n    image: x\n    stop_grace_period: 10\n";
    a_word_where_a_list_is_wanted: "services:\n  web:\n    image: x\n    profiles: dev\n";
    a_stack_that_is_a_list: "- services\n- networks\n";
    a_variable_that_is_required: "services:\n  web:\n    image: ${IMAGE:?}\n";
    an_attribute_of_few: "generate:\n  SECRET: {foo: 3}\nservices:\n  web:\n    image: x\n";
    a_size_that_is_none: "services:\n  web:\n    image: x\n    mem_limit: lots\n";
    a_port_that_is_none: "services:\n  web:\n    image: x\n    ports: ['80', '70000:80']\n";
    a_list_where_a_mapping_is_wanted: "services:\n  - web\n";
    a_service_without_anything: "services:\n  web:\n";
    a_value_that_was_forgotten: "services:\n  web:\n    image: x\n    ports:\n";
    a_bad_value_of_a_variable: "services:\n  web:\n    image: x\n    scale: ${HOME}\n";
    an_attribute_of_containers: "processes:\n  web:\n    command: serve\n    volumes: [./a:/b]\n";
    an_attribute_of_processes: "services:\n  web:\n    image: x\n    inputs: [a]\n";
    a_dependency_that_is_not_there: "services:\n  database: {image: x}\n  web: {image: x, depends_on: [databse]}\n";
    a_circle: "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, links: [a]}\n";
    a_network_that_is_not_there: "services:\n  web: {image: x, networks: [frontend]}\nnetworks: {front-end: }\n";
    two_values_for_one_thing: "services:\n  web:\n    image: x\n    mem_limit: 64m\n    deploy: {resources: {limits: {memory: 128m}}}\n";
    one_name_for_two_containers: "services:\n  a: {image: x, container_name: same}\n  b: {image: x, container_name: same}\n";
    a_path_that_is_mounted_twice: "services:\n  web:\n    image: x\n    tmpfs: [/x]\n    volumes: ['./a:/x']\n";
    an_external_volume_with_a_driver: "services: {}\nvolumes:\n  v: {external: true, driver: local}\n";
    what_is_not_supported_yet: "services: {web: {image: x, pre_start: [{command: [init], hostname: first}]}}\n";
    several_at_once: "services:\n  web:\n    imagee: x\n    tty: maybe\n    ports: {a: b}\n";
}
