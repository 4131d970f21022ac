//! What Compose's rarer attributes come to in a container of the real engine.

use baistack::plan::action::{Action, FaultKind};
use serde_json::{Value, json};

use crate::support::engine::{Corner, spec, with_engine};

/// A container as the engine shows it.
async fn inspect(corner: &Corner, id: &str) -> Value {
    serde_json::to_value(corner.api.inspect_container(id, None).await.unwrap()).unwrap()
}

#[test]
fn limits_and_options_reach_the_engine() {
    with_engine("limits", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"common": {"environment": {"SET": "1", "UNSET": null}, "cap_add": ["net_admin"]},
                "container": {"image": "IMAGE", "command": ["sleep", "1000"], "cpu_quota": 50000, "cpu_period": 100000,
                "device_cgroup_rules": ["c 1:3 mr"], "external_links": [], "isolation": "default", "mem_swappiness": "40",
                "networks": {"default": {"mac_address": "02:42:0a:00:00:07", "link_local_ips": ["169.254.8.8"],
                "driver_opts": {"a.b": "c"}}}, "dns_opt": ["ndots:2"], "volumes": [
                {"type": "tmpfs", "target": "/memory", "tmpfs": {"size": "1m", "mode": 448}},
                {"type": "volume", "target": "/own", "volume": {"labels": {"kind": "own"}}}]}}}"#,
        );
        corner.network(&deployment, "default").await;
        let web = spec(&deployment, "web:1");
        let id = corner.create(&web).await.unwrap();
        let seen = inspect(&corner, &id).await;
        let host = &seen["HostConfig"];
        assert_eq!((&host["CpuQuota"], &host["CpuPeriod"]), (&json!(50_000), &json!(100_000)));
        assert_eq!(host["DeviceCgroupRules"], json!(["c 1:3 mr"]));
        assert_eq!(host["CapAdd"], json!(["CAP_NET_ADMIN"]));
        assert_eq!(seen["Config"]["Env"], json!(["SET=1", "UNSET"]));
        corner.start(&web).await.unwrap();
        let network = format!("{}_default", corner.env);
        let endpoint = inspect(&corner, &id).await["NetworkSettings"]["Networks"][&network].clone();
        assert_eq!(endpoint["MacAddress"], json!("02:42:0a:00:00:07"));
        assert_eq!(endpoint["IPAMConfig"]["LinkLocalIPs"], json!(["169.254.8.8"]));
        assert_eq!(endpoint["DriverOpts"], json!({"a.b": "c"}));
        assert_eq!(corner.sh(&id, "stat -c %a /memory").await, (0, "700".to_owned()));
        let volume = seen["Mounts"].as_array().unwrap().iter().find(|mount| mount["Type"] == "volume").unwrap()["Name"].clone();
        let volume = corner.api.inspect_volume(volume.as_str().unwrap()).await.unwrap();
        assert_eq!(volume.labels["kind"], "own");
    });
}

#[test]
fn mounts_of_another_service_are_there_and_as_it_is_said() {
    with_engine("from", async |corner| {
        let deployment = corner.deployment(
            r#"{"data": {"container": {"image": "IMAGE", "command": ["sleep", "1000"],
                    "volumes": [{"type": "volume", "target": "/data"}]}},
                "web": {"container": {"image": "IMAGE", "command": ["sleep", "1000"], "volumes_from": ["data:ro"]}}}"#,
        );
        let ids = corner.up(&deployment, &["data:1", "web:1"]).await;
        assert_eq!(corner.sh(&ids[0], "echo here > /data/x").await.0, 0);
        assert_eq!(corner.sh(&ids[1], "cat /data/x").await, (0, "here".to_owned()));
        assert_ne!(corner.sh(&ids[1], "echo mine > /data/x").await.0, 0);
    });
}

#[test]
fn hooks_before_the_start_run_once_for_a_service_and_as_often_as_asked() {
    with_engine("prestart", async |corner| {
        let deployment = corner.stack(
            r#"{"services": {"web": {"common": {"environment": {"WHO": "web"}}, "container": {"image": "IMAGE",
                "command": ["sleep", "1000"], "volumes": [{"type": "volume", "source": "shared", "target": "/shared"}],
                "pre_start": [
                    {"command": ["sh", "-c", "echo $WHO $WHAT >> /shared/once"], "environment": {"WHAT": "once"}},
                    {"command": ["sh", "-c", "echo x >> /shared/each"], "per_replica": true}]}}},
                "networks": {"default": {}}, "volumes": {"shared": {}}}"#,
        );
        let volume = Action::CreateVolume { key: "shared".to_owned(), deployment: deployment.clone() };
        corner.act(volume).await.unwrap();
        let ids = corner.up(&deployment, &["web:1", "web:2"]).await;
        assert_eq!(corner.sh(&ids[0], "cat /shared/once /shared/each").await, (0, "web once\nx\nx".to_owned()));
        assert_eq!(corner.observe().await.containers.len(), 2, "nothing of the hooks stays behind");
    });
}

#[test]
fn a_hook_that_fails_keeps_its_service_from_starting() {
    with_engine("prefail", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"container": {"image": "IMAGE", "command": ["sleep", "1000"],
                "pre_start": [{"command": ["sh", "-c", "echo no schema; exit 7"]}]}}}"#,
        );
        corner.network(&deployment, "default").await;
        let web = spec(&deployment, "web:1");
        corner.create(&web).await.unwrap();
        let fault = corner.start(&web).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Permanent);
        let expected = "pre_start hook `sh -c echo no schema; exit 7` ended with exit code 7: no schema";
        assert_eq!(fault.message, expected);
        assert_eq!(inspect(&corner, &format!("{}-web-1", corner.env)).await["State"]["Status"], json!("created"));
    });
}

#[test]
fn what_the_stack_holds_is_written_for_whoever_the_image_runs_as() {
    with_engine("written", async |corner| {
        let deployment = corner.stack(
            r#"{"services": {"web": {"common": {"user": "65534:65534", "secrets": [{"source": "key", "uid": "65534", "mode": "0400"}],
                "configs": [{"source": "note", "target": "/etc/note"}]},
                "container": {"image": "IMAGE", "command": ["sleep", "1000"]}}}, "networks": {"default": {}},
                "secrets": {"key": {"content": "s"}}, "configs": {"note": {"content": "n"}}}"#,
        );
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let said = corner.sh(&id, "cat /run/secrets/key /etc/note; stat -c %u:%g:%a /run/secrets/key /etc/note").await;
        assert_eq!(said, (0, "sn65534:0:400\n0:0:444".to_owned()));
    });
}

#[test]
fn who_may_use_the_engine_finds_its_socket_and_a_configuration() {
    with_engine("socket", async |corner| {
        let deployment = corner
            .deployment(r#"{"web": {"container": {"image": "IMAGE", "command": ["sleep", "1000"], "use_api_socket": true}}}"#);
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        assert_eq!(
            corner.sh(&id, "test -S /var/run/docker.sock && cat $DOCKER_CONFIG/config.json | head -c 1").await,
            (0, "{".to_owned())
        );
    });
}

#[test]
fn what_an_engine_is_too_old_for_is_named_with_both_versions() {
    with_engine("tooold", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"container": {"image": "IMAGE", "networks": {"default": {"interface_name": "eth7"}}}},
                "off": {"container": {"image": "IMAGE", "networks": {"default": {"gw_priority": 1}}}}}"#,
        );
        let version = corner.api.version().await.unwrap();
        let (api, release) = (version.api_version.unwrap(), version.version.unwrap());
        let minor: u32 = api.split('.').nth(1).unwrap().parse().unwrap();
        let found = corner.docker.too_old_for(&deployment, &["web".parse().unwrap()]).await.unwrap();
        let expected = format!(
            "`web`: `networks.default.interface_name` needs Docker Engine 28.1 (API 1.49) or newer, and this one is {release} (API {api})"
        );
        assert_eq!(found, if minor < 49 { vec![expected] } else { Vec::new() });
    });
}
