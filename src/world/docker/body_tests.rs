//! Create requests as JSON, attribute by attribute.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::stack::Stack;
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;

fn spec(stack: Value) -> UnitSpec {
    let mut whole =
        serde_json::to_value(Stack { directory: "/stack".into(), files: vec!["/stack/stack.yaml".into()], ..Stack::default() })
            .unwrap();
    for (key, value) in stack.as_object().unwrap() {
        whole[key] = value.clone();
    }
    unit_of("app:2", deployment("env", serde_json::from_value(whole).unwrap()))
}

fn deployment(env: &str, stack: Stack) -> Deployment {
    Deployment {
        env: env.parse().unwrap(),
        stack,
        caller: crate::plan::desired::Caller::default(),
        places: crate::plan::desired::Places { program: PathBuf::from("/bin/baistack"), ..Default::default() },
    }
}

fn unit_of(unit: &str, deployment: Deployment) -> UnitSpec {
    UnitSpec { unit: unit.parse().unwrap(), deployment: Arc::new(deployment), hash: ConfigHash::from_label("h") }
}

fn app(common: Value, mut container: Value) -> UnitSpec {
    container["image"] = json!("img");
    spec(json!({"services": {"app": {"common": common, "kind": {"container": container}}}, "networks": {"default": {}},
        "volumes": {"data": {}, "named": {"name": "own-name"}}}))
}

fn surroundings(minor: u32) -> Surroundings {
    Surroundings {
        version: ApiVersion::v1(minor),
        image: Some("sha256:1".to_owned()),
        mounted: BTreeMap::new(),
        image_entrypoint: vec!["/entry".to_owned()],
        partners: IndexMap::new(),
        inherited: IndexMap::new(),
        security_opt: Vec::new(),
        credentials: None,
        one_off: None,
    }
}

/// The body, with the keys of its maps in order.
fn body(spec: &UnitSpec, around: &Surroundings) -> Value {
    let request = create_request(spec, around).unwrap();
    ordered(serde_json::to_value(request.body).unwrap())
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, ordered(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(ordered).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Checks that an attribute of `container:` or of both kinds becomes these fields, and these alone, of a plain body.
#[track_caller]
fn check(common: Value, container: Value, expected: Value) {
    check_with(&surroundings(41), common, container, expected);
}

/// As [`check`], of an engine whose interface is 1.`minor`.
#[track_caller]
fn check_since(minor: u32, common: Value, container: Value, expected: Value) {
    check_with(&surroundings(minor), common, container, expected);
}

#[track_caller]
fn check_with(around: &Surroundings, common: Value, container: Value, expected: Value) {
    let plain = body(&app(json!({}), json!({})), around);
    let mut differs = serde_json::Map::new();
    difference("", &plain, &body(&app(common, container), around), &mut differs);
    assert_eq!(Value::Object(differs), expected);
}

fn difference(path: &str, plain: &Value, found: &Value, differs: &mut serde_json::Map<String, Value>) {
    let (Value::Object(before), Value::Object(after)) = (plain, found) else {
        if plain != found {
            differs.insert(path.trim_start_matches('.').to_owned(), found.clone());
        }
        return;
    };
    for (key, value) in after {
        difference(&format!("{path}.{key}"), before.get(key).unwrap_or(&Value::Null), value, differs);
    }
}

#[test]
fn a_plain_container_has_names_labels_and_its_network() {
    let body =
        body(&app(json!({"labels": {"mine": "x", "com.docker.compose.project": "not mine"}}), json!({})), &surroundings(41));
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r#"
    {
      "AttachStderr": true,
      "AttachStdout": true,
      "HostConfig": {
        "NetworkMode": "env_default"
      },
      "Image": "img",
      "Labels": {
        "com.docker.compose.config-hash": "h",
        "com.docker.compose.container-number": "2",
        "com.docker.compose.depends_on": "",
        "com.docker.compose.image": "sha256:1",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.project": "env",
        "com.docker.compose.project.config_files": "/stack/stack.yaml",
        "com.docker.compose.project.working_dir": "/stack",
        "com.docker.compose.service": "app",
        "com.docker.compose.version": "0.1.0+baistack",
        "mine": "x"
      },
      "NetworkingConfig": {
        "EndpointsConfig": {
          "env_default": {
            "Aliases": [
              "env-app-2",
              "app"
            ]
          }
        }
      }
    }
    "#);
}

#[test]
fn commands_and_what_they_run_as() {
    let none = json!({});
    check(none.clone(), json!({"command": ["a", "b"]}), json!({"Cmd": ["a", "b"]}));
    check(none.clone(), json!({"entrypoint": ["e"]}), json!({"Entrypoint": ["e"]}));
    check(none.clone(), json!({"entrypoint": []}), json!({"Entrypoint": []}));
    check(none.clone(), json!({"command": []}), json!({"Cmd": [], "Entrypoint": ["/entry"]}));
    check(json!({"environment": {"A": "1", "B": "", "C": null}}), none.clone(), json!({"Env": ["A=1", "B=", "C"]}));
    check(json!({"user": "1:2", "working_dir": "/w"}), none.clone(), json!({"User": "1:2", "WorkingDir": "/w"}));
    check(json!({"tty": true, "stdin_open": true}), none.clone(), json!({"Tty": true, "OpenStdin": true}));
    check(
        json!({"stop_signal": "SIGINT", "stop_grace_period": "1500ms"}),
        none.clone(),
        json!({"StopSignal": "SIGINT", "StopTimeout": 2}),
    );
    check(none, json!({"hostname": "h", "domainname": "d"}), json!({"Hostname": "h", "Domainname": "d"}));
}

#[test]
fn limits_and_policies() {
    let none = json!({});
    check(
        json!({"mem_limit": "64m", "cpus": 0.5, "pids_limit": 9, "oom_score_adj": -5}),
        json!({"mem_reservation": "1m", "memswap_limit": -1, "shm_size": "2m", "cpu_shares": 7, "cpuset": "0-1"}),
        json!({"HostConfig.Memory": 67_108_864, "HostConfig.NanoCpus": 500_000_000, "HostConfig.PidsLimit": 9,
            "HostConfig.OomScoreAdj": -5, "HostConfig.MemoryReservation": 1_048_576, "HostConfig.MemorySwap": -1,
            "HostConfig.ShmSize": 2_097_152, "HostConfig.CpuShares": 7, "HostConfig.CpusetCpus": "0-1"}),
    );
    let policy = |name| json!({"HostConfig.RestartPolicy": {"Name": name}});
    check(json!({"restart": "no"}), none.clone(), json!({}));
    check(json!({"restart": "no"}), json!({"restart": "no"}), policy("no"));
    check(json!({"restart": "unless-stopped"}), none.clone(), policy("unless-stopped"));
    let limited = json!({"HostConfig.RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}});
    check(json!({"restart": "on-failure:3"}), none.clone(), limited);
    check(
        json!({"ulimits": {"nofile": {"soft": 1, "hard": 2}}, "group_add": ["g"], "cap_add": ["sys_time", "CAP_NET_ADMIN", "NET_ADMIN"]}),
        json!({"cap_drop": ["ALL"], "privileged": true, "read_only": true, "init": false, "sysctls": {"a.b": "1"}}),
        json!({"HostConfig.Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "HostConfig.GroupAdd": ["g"],
            "HostConfig.CapAdd": ["CAP_NET_ADMIN", "CAP_SYS_TIME"], "HostConfig.CapDrop": ["ALL"], "HostConfig.Privileged": true,
            "HostConfig.ReadonlyRootfs": true, "HostConfig.Init": false, "HostConfig.Sysctls": {"a.b": "1"}}),
    );
    check_since(
        43,
        json!({"logging": {"driver": "json-file", "options": {"max-size": "1m"}}, "annotations": {"a": "b"}}),
        json!({"runtime": "runsc", "cgroup": "private", "cgroup_parent": "/p", "userns_mode": "host", "uts": "host", "pid": "host"}),
        json!({"HostConfig.LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "HostConfig.Annotations": {"a": "b"},
            "HostConfig.Runtime": "runsc", "HostConfig.CgroupnsMode": "private", "HostConfig.CgroupParent": "/p",
            "HostConfig.UsernsMode": "host", "HostConfig.UTSMode": "host", "HostConfig.PidMode": "host"}),
    );
    check(
        none,
        json!({"isolation": "default", "storage_opt": {"size": "1G"}, "ipc": "shareable", "userns_mode": "host"}),
        json!({"HostConfig.Isolation": "default", "HostConfig.StorageOpt": {"size": "1G"}, "HostConfig.IpcMode": "shareable",
            "HostConfig.UsernsMode": "host"}),
    );
}

#[test]
fn cpus_memory_and_block_devices() {
    let none = json!({});
    check(
        none.clone(),
        json!({"cpu_quota": 50_000, "cpu_period": 100_000, "cpu_rt_runtime": 950, "cpu_rt_period": 1000, "cpu_count": 2,
            "cpu_percent": 12.5, "mem_swappiness": "40", "oom_kill_disable": true}),
        json!({"HostConfig.CpuQuota": 50_000, "HostConfig.CpuPeriod": 100_000, "HostConfig.CpuRealtimeRuntime": 950,
            "HostConfig.CpuRealtimePeriod": 1000, "HostConfig.CpuCount": 2, "HostConfig.CpuPercent": 1250,
            "HostConfig.MemorySwappiness": 40, "HostConfig.OomKillDisable": true}),
    );
    check(none.clone(), json!({"mem_swappiness": "0", "oom_kill_disable": false}), none.clone());
    check(
        none,
        json!({"blkio_config": {"weight": 300, "weight_device": [{"path": "/dev/a", "weight": 400}],
            "device_read_bps": [{"path": "/dev/a", "rate": "12mb"}], "device_read_iops": [{"path": "/dev/a", "rate": "120"}],
            "device_write_bps": [{"path": "/dev/b", "rate": "1k"}], "device_write_iops": [{"path": "/dev/b", "rate": "30"}]}}),
        json!({"HostConfig.BlkioWeight": 300, "HostConfig.BlkioWeightDevice": [{"Path": "/dev/a", "Weight": 400}],
            "HostConfig.BlkioDeviceReadBps": [{"Path": "/dev/a", "Rate": 12_582_912}],
            "HostConfig.BlkioDeviceReadIOps": [{"Path": "/dev/a", "Rate": 120}],
            "HostConfig.BlkioDeviceWriteBps": [{"Path": "/dev/b", "Rate": 1024}],
            "HostConfig.BlkioDeviceWriteIOps": [{"Path": "/dev/b", "Rate": 30}]}),
    );
}

#[test]
fn devices_and_requests_for_them() {
    let none = json!({});
    check(
        none.clone(),
        json!({"devices": [{"source": "/dev/a", "target": "", "permissions": ""}], "device_cgroup_rules": ["c 1:3 mr"]}),
        json!({"HostConfig.Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"}],
            "HostConfig.DeviceCgroupRules": ["c 1:3 mr"]}),
    );
    check_since(
        44,
        none.clone(),
        json!({"devices": [{"source": "v.com/gpu=0"}, {"source": "v.com/gpu=1"}]}),
        json!({"HostConfig.DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["v.com/gpu=0", "v.com/gpu=1"]}]}),
    );
    check(
        none,
        json!({"gpus": [{"count": -1}, {"device_ids": ["3"], "driver": "nvidia", "capabilities": ["utility"], "options": {"o": "1"}}],
            "reserved_devices": [{"capabilities": ["tpu"], "count": 2}]}),
        json!({"HostConfig.DeviceRequests": [
            {"Count": 2, "Capabilities": [["tpu"]]},
            {"Count": -1, "Capabilities": [["gpu"]]},
            {"Driver": "nvidia", "DeviceIDs": ["3"], "Capabilities": [["utility", "gpu"]], "Options": {"o": "1"}}]}),
    );
}

#[test]
fn ports_and_names() {
    check(
        json!({"ports": [
            {"target": 80, "published": "8080", "protocol": "tcp", "host_ip": "127.0.0.1"},
            {"target": 80, "published": "8000-8010", "protocol": "tcp"},
            {"target": 53, "protocol": "udp"}]}),
        json!({"expose": ["90-91", "80/tcp"]}),
        json!({"ExposedPorts": {"53/udp": {}, "80/tcp": {}, "90/tcp": {}, "91/tcp": {}},
            "HostConfig.PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": "8000-8010"}], "53/udp": [{}]}}),
    );
    check(
        json!({}),
        json!({"extra_hosts": ["a=1.2.3.4", "b=::1"], "dns": ["9.9.9.9"], "dns_search": ["x"], "dns_opt": ["ndots:1"]}),
        json!({"HostConfig.ExtraHosts": ["a:1.2.3.4", "b:::1"], "HostConfig.Dns": ["9.9.9.9"], "HostConfig.DnsSearch": ["x"],
            "HostConfig.DnsOptions": ["ndots:1"]}),
    );
}

#[test]
fn health_checks() {
    let none = json!({});
    check_since(
        44,
        json!({"healthcheck": {"test": ["CMD", "ok"], "interval": "1s", "timeout": "2s", "retries": 3, "start_period": "4s",
            "start_interval": "5ms"}}),
        none.clone(),
        json!({"Healthcheck": {"Test": ["CMD", "ok"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000_u64, "Retries": 3,
            "StartPeriod": 4_000_000_000_u64, "StartInterval": 5_000_000}}),
    );
    let early = |test: Value| json!({"healthcheck": {"test": test, "start_period": "4s", "start_interval": "5ms"}});
    let without = |test: Value| json!({"Healthcheck": {"Test": test, "StartPeriod": 4_000_000_000_u64}});
    check_since(41, early(json!(["CMD", "ok"])), none.clone(), without(json!(["CMD", "ok"])));
    check_with(&surroundings(43), early(json!(["CMD", "ok"])), none.clone(), without(json!(["CMD", "ok"])));
    check_with(&surroundings(44), early(json!(["NONE"])), none.clone(), without(json!(["NONE"])));
    check(json!({"healthcheck": {"interval": "1s"}}), none.clone(), json!({"Healthcheck": {"Interval": 1_000_000_000}}));
    let off = json!({"Healthcheck": {"Test": ["NONE"]}});
    check(
        json!({"healthcheck": {"disable": true, "retries": 3}}),
        none.clone(),
        json!({"Healthcheck": {"Test": ["NONE"], "Retries": 3}}),
    );
    for check_of_ours in [json!({"disable": true}), json!({"test": ["NONE"]}), json!({"tcp": "127.0.0.1:1"})] {
        check(json!({"healthcheck": check_of_ours}), none.clone(), off.clone());
    }
}

#[test]
fn mounts_go_where_all_that_they_ask_for_can_be_said() {
    let mounts = |list: Value| json!({ "volumes": list });
    check(
        json!({}),
        mounts(json!([
            {"type": "bind", "source": "/a", "target": "/b"},
            {"type": "bind", "source": "/a", "target": "/c", "read_only": true, "bind": {"selinux": "z"}},
            {"type": "volume", "source": "data", "target": "/d"},
            {"type": "volume", "source": "named", "target": "/e", "read_only": true, "bind": {"selinux": "Z"}},
            {"type": "volume", "target": "/f"}])),
        json!({"HostConfig.Binds": ["/a:/b:rw", "/a:/c:ro,z", "env_data:/d:rw", "own-name:/e:ro,Z"],
            "HostConfig.Mounts": [{"Type": "volume", "Target": "/f"}]}),
    );
    check(
        json!({}),
        mounts(json!([
            {"type": "bind", "source": "/a:b", "target": "/c"},
            {"type": "bind", "source": "/a", "target": "/d", "bind": {"create_host_path": false, "propagation": "rslave"}},
            {"type": "volume", "source": "data", "target": "/e", "volume": {"nocopy": true}},
            {"type": "tmpfs", "target": "/f", "tmpfs": {"size": "1k", "mode": 511}}])),
        json!({"HostConfig.Mounts": [
            {"Type": "bind", "Source": "/a:b", "Target": "/c", "BindOptions": {}},
            {"Type": "bind", "Source": "/a", "Target": "/d", "BindOptions": {"Propagation": "rslave"}},
            {"Type": "volume", "Source": "env_data", "Target": "/e", "VolumeOptions": {"NoCopy": true}},
            {"Type": "tmpfs", "Target": "/f", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 511}}]}),
    );
    check(json!({}), json!({"tmpfs": ["/x", "/y:size=1m"]}), json!({"HostConfig.Tmpfs": {"/x": "", "/y": "size=1m"}}));
}

#[test]
fn what_the_former_container_kept_is_taken_over() {
    let spec = app(
        json!({}),
        json!({"volumes": [{"type": "volume", "target": "/own"}, {"type": "bind", "source": "/h", "target": "/now"}]}),
    );
    let mut around = surroundings(41);
    around.inherited =
        [("/own", "v1"), ("/image", "v2"), ("/now", "v3")].map(|(path, name)| (path.to_owned(), name.to_owned())).into();
    assert_eq!(body(&spec, &around)["HostConfig"]["Binds"], json!(["v1:/own:rw", "/h:/now:rw", "v2:/image:rw"]));
}

#[test]
fn an_old_engine_joins_one_network_at_the_creation_and_a_new_one_all() {
    let spec = spec(json!({
        "services": {
            "app": {"common": {}, "kind": {"container": {"image": "img", "links": ["db:database"],
                "networks": {"a": null, "b": {"priority": 3, "aliases": ["x"], "ipv4_address": "10.0.0.9"}}}}},
            "db": {"common": {"scale": 2}, "kind": {"container": {"image": "img"}}}},
        "networks": {"a": {}, "b": {"name": "bee"}}}));
    let first = json!({"Aliases": ["env-app-2", "app", "x"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "Links": [
        "env-db-1:database", "env-db-1:db-1", "env-db-1:env-db-1", "env-db-2:database", "env-db-2:db-2", "env-db-2:env-db-2"]});
    let request = create_request(&spec, &surroundings(41)).unwrap();
    assert_eq!(request.connect.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["env_a"]);
    let old = body(&spec, &surroundings(41));
    assert_eq!(old["HostConfig"]["NetworkMode"], json!("bee"));
    assert_eq!(old["NetworkingConfig"]["EndpointsConfig"], json!({"bee": first}));
    assert!(create_request(&spec, &surroundings(44)).unwrap().connect.is_empty());
    let endpoints = &body(&spec, &surroundings(44))["NetworkingConfig"]["EndpointsConfig"];
    assert_eq!(endpoints.as_object().unwrap().keys().collect::<Vec<_>>(), ["bee", "env_a"]);
}

#[test]
fn what_is_connected_by_a_mode_joins_no_network() {
    for mode in ["host", "none", "bridge", "container:other"] {
        let body = body(&app(json!({}), json!({"network_mode": mode, "external_links": ["one"]})), &surroundings(41));
        assert_eq!(body["HostConfig"]["NetworkMode"], mode);
        assert_eq!(body["HostConfig"]["Links"], json!(["one:one"]), "{mode}");
        assert!(body.get("NetworkingConfig").is_none(), "{mode}: {body}");
    }
}

#[test]
fn on_a_network_of_the_engines_own_a_container_has_no_aliases() {
    for (network, has_aliases) in [("bridge", false), ("bridged", true)] {
        let spec = spec(json!({
            "services": {"app": {"common": {}, "kind": {"container": {"image": "img", "networks": {"out": {"aliases": ["x"]}}}}}},
            "networks": {"out": {"external": true, "name": network}}}));
        let endpoint = &body(&spec, &surroundings(41))["NetworkingConfig"]["EndpointsConfig"][network];
        assert_eq!(endpoint.get("Aliases").is_some(), has_aliases, "{network}: {endpoint}");
    }
}

#[test]
fn a_label_names_the_containers_that_one_depends_on() {
    let spec = spec(json!({"services": {
        "app": {"common": {"depends_on": {"db": {"condition": "service_healthy", "restart": true, "required": true},
                                          "job": {"condition": "service_completed_successfully", "required": true},
                                          "native": {"condition": "service_started", "required": true}}},
                "kind": {"container": {"image": "img"}}},
        "db": {"common": {}, "kind": {"container": {"image": "img"}}},
        "job": {"common": {}, "kind": {"container": {"image": "img"}}},
        "native": {"common": {}, "kind": {"process": {}}}}}));
    let label = &body(&spec, &surroundings(41))["Labels"]["com.docker.compose.depends_on"];
    assert_eq!(label, "db:service_healthy:true,job:service_completed_successfully:false");
}

#[test]
fn a_shared_namespace_is_that_of_the_other_container() {
    let spec = app(json!({}), json!({"network_mode": "service:db", "pid": "service:db"}));
    let mut around = surroundings(41);
    let fault = create_request(&spec, &around).unwrap_err();
    assert_eq!(fault.message, "`db`, whose namespace is to be shared, has no container");
    around.partners.insert("db".parse().unwrap(), "123".to_owned());
    let host = &body(&spec, &around)["HostConfig"];
    assert_eq!((&host["NetworkMode"], &host["PidMode"]), (&json!("container:123"), &json!("container:123")));
}

#[test]
fn security_paths_are_two_empty_lists() {
    let mut around = surroundings(41);
    around.security_opt = vec!["systempaths=unconfined".to_owned(), "label=disable".to_owned()];
    let host = &body(&app(json!({}), json!({})), &around)["HostConfig"];
    assert_eq!((&host["MaskedPaths"], &host["ReadonlyPaths"]), (&json!([]), &json!([])));
    assert_eq!(host["SecurityOpt"], json!(["label=disable"]));
}

#[test]
fn one_thing_is_mounted_at_each_path_and_volumes_go_before_secrets_and_these_before_configs() {
    let object = json!({"file": "/h"});
    let spec = spec(json!({
        "services": {"app": {
            "common": {"secrets": [{"source": "one", "target": "/both"}],
                       "configs": [{"source": "one", "target": "/mine"}, {"source": "two", "target": "/both"},
                                   {"source": "two", "target": "/kept"}]},
            "kind": {"container": {"image": "img", "tmpfs": ["/fast:size=1m"],
                                   "volumes": [{"type": "bind", "source": "/b", "target": "/mine"}]}}}},
        "secrets": {"one": object}, "configs": {"one": object, "two": object}}));
    let anonymous = ["/mine", "/kept", "/fast", "/free"].map(|path| (path.to_owned(), format!("of{}", path.replace('/', "-"))));
    let around = Surroundings { inherited: anonymous.into_iter().collect(), ..surroundings(41) };
    let body = body(&spec, &around);
    assert_eq!(body["HostConfig"]["Binds"], json!(["/b:/mine:rw", "of-free:/free:rw"]));
    let targets: Vec<&Value> = body["HostConfig"]["Mounts"].as_array().unwrap().iter().map(|mount| &mount["Target"]).collect();
    assert_eq!(targets, ["/both", "/kept"]);
}

#[test]
fn secrets_and_configs_are_mounts_or_files_to_be_written() {
    let files = |read_only| {
        spec(json!({
            "services": {"app": {
                "common": {"secrets": [{"source": "held", "uid": "1", "mode": "0400"}, {"source": "file", "target": "x"}],
                           "configs": [{"source": "conf"}]},
                "kind": {"container": {"image": "img", "read_only": read_only}}}},
            "secrets": {"held": {"content": "s"}, "file": {"file": "/h"}},
            "configs": {"conf": {"content": "c"}}}))
    };
    let request = create_request(&files(false), &surroundings(41)).unwrap();
    let written = |path: &str, content: &str, uid, mode| WrittenFile {
        path: path.to_owned(),
        content: content.to_owned(),
        uid,
        gid: 0,
        mode,
    };
    assert_eq!(request.files, [written("/run/secrets/held", "s", 1, 0o400), written("/conf", "c", 0, 0o444)]);
    assert_eq!(
        body(&files(false), &surroundings(41))["HostConfig"]["Mounts"],
        json!([{"Type": "bind", "Source": "/h", "Target": "/run/secrets/x", "ReadOnly": true}])
    );
    assert!(create_request(&files(true), &surroundings(41)).is_err(), "nothing can be written into it");
}

#[test]
fn what_an_old_engine_would_ignore_is_refused_by_name() {
    for (container, expected) in [
        (
            json!({"networks": {"default": {"gw_priority": 1}}}),
            "`networks.default.gw_priority` needs Docker Engine 28 (API 1.48) or newer",
        ),
        (
            json!({"volumes": [{"type": "volume", "source": "data", "target": "/d", "volume": {"subpath": "s"}}]}),
            "`volumes: /d: volume.subpath` needs Docker Engine 26 (API 1.45) or newer",
        ),
    ] {
        assert_eq!(create_request(&app(json!({}), container), &surroundings(41)).unwrap_err().message, expected);
    }
}

#[test]
fn an_old_engine_takes_a_hardware_address_for_the_container_and_a_new_one_for_the_network() {
    let address = "02:42:ac:11:00:02";
    for container in [json!({"mac_address": address}), json!({"networks": {"default": {"mac_address": address}}})] {
        let spec = app(json!({}), container);
        assert_eq!(create_request(&spec, &surroundings(41)).unwrap().mac_address.as_deref(), Some(address));
        assert_eq!(create_request(&spec, &surroundings(44)).unwrap().mac_address, None);
        let endpoint = |minor| body(&spec, &surroundings(minor))["NetworkingConfig"]["EndpointsConfig"]["env_default"].clone();
        assert_eq!((&endpoint(41)["MacAddress"], &endpoint(44)["MacAddress"]), (&Value::Null, &json!(address)));
    }
}

#[test]
fn an_attachment_says_all_that_it_asks_for() {
    let attachment = json!({"aliases": ["x"], "ipv6_address": "fd00::9", "link_local_ips": ["169.254.1.1"], "gw_priority": 5,
        "driver_opts": {"a": "b"}, "interface_name": "eth7"});
    let spec = app(json!({}), json!({"networks": {"default": attachment}}));
    assert_eq!(
        body(&spec, &surroundings(49))["NetworkingConfig"]["EndpointsConfig"]["env_default"],
        json!({"Aliases": ["env-app-2", "app", "x"], "GwPriority": 5,
            "DriverOpts": {"a": "b", "com.docker.network.endpoint.ifname": "eth7"},
            "IPAMConfig": {"IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.1.1"]}})
    );
}

#[test]
fn mounts_of_others_are_those_of_their_containers() {
    let spec = app(json!({}), json!({"volumes_from": ["db", "db:ro", "container:other:ro"]}));
    let mut around = surroundings(41);
    let fault = create_request(&spec, &around).unwrap_err();
    assert_eq!(fault.message, "`db`, whose mounts are to be shared, has no container");
    around.partners.insert("db".parse().unwrap(), "123".to_owned());
    assert_eq!(body(&spec, &around)["HostConfig"]["VolumesFrom"], json!(["123", "123:ro", "other:ro"]));
}

#[test]
fn links_to_containers_of_others_go_by_their_names() {
    let links = json!(["redis:redis", "db-2:db"]);
    check(
        json!({}),
        json!({"external_links": ["redis", "db-2:db"]}),
        json!({"HostConfig.Links": links, "NetworkingConfig.EndpointsConfig.env_default.Links": links}),
    );
}

#[test]
fn an_image_is_mounted_whole_or_a_part_of_it() {
    check_since(
        48,
        json!({}),
        json!({"volumes": [{"type": "image", "source": "img", "target": "/a"},
            {"type": "image", "source": "img", "target": "/b", "image": {"subpath": "etc"}}]}),
        json!({"HostConfig.Mounts": [{"Type": "image", "Source": "img", "Target": "/a"},
            {"Type": "image", "Source": "img", "Target": "/b", "ImageOptions": {"Subpath": "etc"}}]}),
    );
}

#[test]
fn who_may_use_the_engine_gets_its_socket_and_the_logins() {
    let mut around = surroundings(41);
    around.credentials = Some("{}".to_owned());
    let socket = json!({"use_api_socket": true});
    let expected = json!({"Env": ["DOCKER_CONFIG=/run/secrets/docker"],
        "HostConfig.Binds": ["/var/run/docker.sock:/var/run/docker.sock:rw"]});
    check_with(&around, json!({}), socket.clone(), expected);
    let request = create_request(&app(json!({}), socket.clone()), &around).unwrap();
    assert_eq!(request.files[0].path, "/run/secrets/docker/config.json");
    let own = app(json!({"environment": {"DOCKER_CONFIG": "/own"}}), socket);
    assert_eq!(body(&own, &around)["Env"], json!(["DOCKER_CONFIG=/own"]));
}

/// What Docker Compose 5.6.1 asks an engine for with the same file, but for `volumes_from`, whose mode it loses, and for what no engine
/// reads (the addresses of an endpoint once more, zeros).
#[test]
fn a_file_that_says_everything_of_a_container_is_asked_for_as_in_compose() {
    const FILE: &str = r#"
services:
  web:
    image: img
    command: run --fast "two words"
    entrypoint: [/entry, "$$HOME"]
    container_name: the-app
    hostname: host
    domainname: example.org
    user: "1000:1000"
    working_dir: /srv
    stop_signal: SIGUSR1
    stop_grace_period: 1m30s
    tty: true
    stdin_open: true
    environment: {A: 1, B: "", C: true}
    env_file: vars.env
    labels: [mine=x, empty]
    annotations: {note: "1"}
    ports: ["127.0.0.1:8080-8081:80-81", "53/udp", {target: 9000, published: "9000-9009", host_ip: "::1"}]
    expose: [90-91, 92/udp]
    volumes:
      - data:/data:ro
      - ./here:/here:z
      - /anonymous
      - {type: bind, source: /host, target: /host, bind: {propagation: rslave}}
      - {type: volume, source: named, target: /part, volume: {nocopy: true, subpath: sub, labels: {l: v}}}
      - {type: tmpfs, target: /memory, tmpfs: {size: 1m, mode: 0700}}
      - {type: image, source: other, target: /image, image: {subpath: etc}}
    tmpfs: ["/run:size=1m,noexec", /tmp]
    volumes_from: ["container:other:ro"]
    networks:
      default: {aliases: [also], gw_priority: 5, interface_name: eth7}
      back: {priority: 10, ipv4_address: 10.5.0.9, ipv6_address: "fd00::9", link_local_ips: [169.254.1.1], mac_address: "02:42:0a:05:00:09", driver_opts: {o: "1"}}
    external_links: ["foreign:alias", plain]
    extra_hosts: {one: 10.0.0.1, gate: host-gateway, six: "::1"}
    dns: 9.9.9.9
    dns_search: [a.example, b.example]
    dns_opt: ["ndots:1"]
    healthcheck: {test: curl localhost, interval: 1m, timeout: 3s, retries: 4, start_period: 5s, start_interval: 500ms}
    deploy:
      replicas: 1
      resources:
        limits: {cpus: "0.5", memory: 64m, pids: 9}
        reservations:
          memory: 32m
          devices: [{capabilities: [tpu], count: 2}]
      restart_policy: {condition: on-failure, max_attempts: 3}
    depends_on: {db: {condition: service_healthy, restart: true}, cache: {condition: service_started}}
    platform: linux/amd64
    secrets: [token]
    configs: [{source: conf, target: /etc/conf}]
    logging: {driver: json-file, options: {max-size: 1m, max-file: 3}}
    cap_add: [net_admin]
    cap_drop: [ALL]
    group_add: [video, 44]
    security_opt: ["label:disable", "systempaths=unconfined"]
    privileged: true
    init: false
    pid: host
    ipc: shareable
    uts: host
    userns_mode: host
    cgroup: private
    cgroup_parent: /parent
    runtime: runc
    cpu_shares: 7
    cpuset: "0-1"
    memswap_limit: 128m
    shm_size: 2m
    mem_swappiness: 10
    oom_score_adj: -5
    oom_kill_disable: true
    ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}
    sysctls: [net.core.somaxconn=1024]
    devices: ["/dev/null:/dev/nought:r", "/dev/zero", "vendor.com/class=one"]
    device_cgroup_rules: ["c 1:3 mr"]
    gpus: all
    blkio_config: {weight: 300, device_read_bps: [{path: /dev/zero, rate: 1mb}]}
  db: {image: img, healthcheck: {test: [NONE]}}
  cache: {image: img}
networks: {back: {name: own-back}}
volumes: {data: null, named: {name: own-named}}
secrets: {token: {file: ./token}}
configs: {conf: {file: ./conf}}
"#;
    let texts = [("compose.yaml", FILE), ("vars.env", "FROM_FILE=1"), ("token", "t"), ("conf", "c")];
    let loaded = crate::load::testing::load(&texts);
    assert!(loaded.diagnostics.is_empty() && loaded.unstartable.is_empty(), "{:?} {:?}", loaded.diagnostics, loaded.unstartable);
    let spec = unit_of("web:1", deployment("app", loaded.stack));
    let options = &spec.service().container().unwrap().security_opt;
    let security_opt = security::with_profiles(options, std::path::Path::new("/app")).unwrap();
    let mounted = [("/image".to_owned(), "sha256:2222222222222222".to_owned())].into();
    let around = Surroundings { mounted, security_opt, ..surroundings(51) };
    assert_eq!(create_request(&spec, &around).unwrap().platform.as_deref(), Some("linux/amd64"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&body(&spec, &around)).unwrap(), @r#"
    {
      "AttachStderr": true,
      "AttachStdout": true,
      "Cmd": [
        "run",
        "--fast",
        "two words"
      ],
      "Domainname": "example.org",
      "Entrypoint": [
        "/entry",
        "$HOME"
      ],
      "Env": [
        "FROM_FILE=1",
        "A=1",
        "B=",
        "C=true"
      ],
      "ExposedPorts": {
        "53/udp": {},
        "80/tcp": {},
        "81/tcp": {},
        "90/tcp": {},
        "9000/tcp": {},
        "91/tcp": {},
        "92/udp": {}
      },
      "Healthcheck": {
        "Interval": 60000000000,
        "Retries": 4,
        "StartInterval": 500000000,
        "StartPeriod": 5000000000,
        "Test": [
          "CMD-SHELL",
          "curl localhost"
        ],
        "Timeout": 3000000000
      },
      "HostConfig": {
        "Annotations": {
          "note": "1"
        },
        "Binds": [
          "app_data:/data:ro",
          "/app/here:/here:rw,z"
        ],
        "BlkioDeviceReadBps": [
          {
            "Path": "/dev/zero",
            "Rate": 1048576
          }
        ],
        "BlkioWeight": 300,
        "CapAdd": [
          "CAP_NET_ADMIN"
        ],
        "CapDrop": [
          "ALL"
        ],
        "CgroupParent": "/parent",
        "CgroupnsMode": "private",
        "CpuShares": 7,
        "CpusetCpus": "0-1",
        "DeviceCgroupRules": [
          "c 1:3 mr"
        ],
        "DeviceRequests": [
          {
            "Capabilities": [
              [
                "tpu"
              ]
            ],
            "Count": 2
          },
          {
            "DeviceIDs": [
              "vendor.com/class=one"
            ],
            "Driver": "cdi"
          },
          {
            "Capabilities": [
              [
                "gpu"
              ]
            ],
            "Count": -1
          }
        ],
        "Devices": [
          {
            "CgroupPermissions": "r",
            "PathInContainer": "/dev/nought",
            "PathOnHost": "/dev/null"
          },
          {
            "CgroupPermissions": "rwm",
            "PathInContainer": "/dev/zero",
            "PathOnHost": "/dev/zero"
          }
        ],
        "Dns": [
          "9.9.9.9"
        ],
        "DnsOptions": [
          "ndots:1"
        ],
        "DnsSearch": [
          "a.example",
          "b.example"
        ],
        "ExtraHosts": [
          "gate:host-gateway",
          "one:10.0.0.1",
          "six:::1"
        ],
        "GroupAdd": [
          "video",
          "44"
        ],
        "Init": false,
        "IpcMode": "shareable",
        "Links": [
          "foreign:alias",
          "plain:plain"
        ],
        "LogConfig": {
          "Config": {
            "max-file": "3",
            "max-size": "1m"
          },
          "Type": "json-file"
        },
        "MaskedPaths": [],
        "Memory": 67108864,
        "MemoryReservation": 33554432,
        "MemorySwap": 134217728,
        "MemorySwappiness": 10,
        "Mounts": [
          {
            "Target": "/anonymous",
            "Type": "volume"
          },
          {
            "BindOptions": {
              "CreateMountpoint": true,
              "Propagation": "rslave"
            },
            "Source": "/host",
            "Target": "/host",
            "Type": "bind"
          },
          {
            "Source": "own-named",
            "Target": "/part",
            "Type": "volume",
            "VolumeOptions": {
              "Labels": {
                "l": "v"
              },
              "NoCopy": true,
              "Subpath": "sub"
            }
          },
          {
            "Target": "/memory",
            "TmpfsOptions": {
              "Mode": 448,
              "SizeBytes": 1048576
            },
            "Type": "tmpfs"
          },
          {
            "ImageOptions": {
              "Subpath": "etc"
            },
            "Source": "other",
            "Target": "/image",
            "Type": "image"
          },
          {
            "ReadOnly": true,
            "Source": "/app/token",
            "Target": "/run/secrets/token",
            "Type": "bind"
          },
          {
            "ReadOnly": true,
            "Source": "/app/conf",
            "Target": "/etc/conf",
            "Type": "bind"
          }
        ],
        "NanoCpus": 500000000,
        "NetworkMode": "own-back",
        "OomKillDisable": true,
        "OomScoreAdj": -5,
        "PidMode": "host",
        "PidsLimit": 9,
        "PortBindings": {
          "53/udp": [
            {}
          ],
          "80/tcp": [
            {
              "HostIp": "127.0.0.1",
              "HostPort": "8080"
            }
          ],
          "81/tcp": [
            {
              "HostIp": "127.0.0.1",
              "HostPort": "8081"
            }
          ],
          "9000/tcp": [
            {
              "HostIp": "::1",
              "HostPort": "9000-9009"
            }
          ]
        },
        "Privileged": true,
        "ReadonlyPaths": [],
        "RestartPolicy": {
          "MaximumRetryCount": 3,
          "Name": "on-failure"
        },
        "Runtime": "runc",
        "SecurityOpt": [
          "label:disable"
        ],
        "ShmSize": 2097152,
        "Sysctls": {
          "net.core.somaxconn": "1024"
        },
        "Tmpfs": {
          "/run": "size=1m,noexec",
          "/tmp": ""
        },
        "UTSMode": "host",
        "Ulimits": [
          {
            "Hard": 5,
            "Name": "nproc",
            "Soft": 5
          },
          {
            "Hard": 2,
            "Name": "nofile",
            "Soft": 1
          }
        ],
        "UsernsMode": "host",
        "VolumesFrom": [
          "other:ro"
        ]
      },
      "Hostname": "host",
      "Image": "img",
      "Labels": {
        "com.docker.compose.config-hash": "h",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.depends_on": "db:service_healthy:true,cache:service_started:false",
        "com.docker.compose.image": "sha256:1",
        "com.docker.compose.image-volume-digest": "/image=sha256:2222222222222222",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.project": "app",
        "com.docker.compose.project.config_files": "/app/compose.yaml",
        "com.docker.compose.project.working_dir": "/app",
        "com.docker.compose.service": "web",
        "com.docker.compose.version": "0.1.0+baistack",
        "empty": "",
        "mine": "x"
      },
      "NetworkingConfig": {
        "EndpointsConfig": {
          "app_default": {
            "Aliases": [
              "the-app",
              "web",
              "also"
            ],
            "DriverOpts": {
              "com.docker.network.endpoint.ifname": "eth7"
            },
            "GwPriority": 5,
            "Links": [
              "foreign:alias",
              "plain:plain"
            ]
          },
          "own-back": {
            "Aliases": [
              "the-app",
              "web"
            ],
            "DriverOpts": {
              "o": "1"
            },
            "IPAMConfig": {
              "IPv4Address": "10.5.0.9",
              "IPv6Address": "fd00::9",
              "LinkLocalIPs": [
                "169.254.1.1"
              ]
            },
            "Links": [
              "foreign:alias",
              "plain:plain"
            ],
            "MacAddress": "02:42:0a:05:00:09"
          }
        }
      },
      "OpenStdin": true,
      "StopSignal": "SIGUSR1",
      "StopTimeout": 90,
      "Tty": true,
      "User": "1000:1000",
      "WorkingDir": "/srv"
    }
    "#);
}
