//! Values of a container that have the right kind and that every engine would refuse, or the kernel for it: told with their place
//! before anything starts, and not after half of the stack has.
//!
//! They load and are shown, as in Compose. What depends on the host (CPUs, drivers, users of the image) is the engine's to say; what is
//! wrong with a whole service is told by `startable`.

use core::net::IpAddr;

use super::told::bad_value;
use crate::base::diagnostic::Diagnostics;
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::base::{bytes, duration, reference};
use crate::model::kernel;
use crate::yaml::node::{Entry, Mapping, Node};
use crate::yaml::place::Place;

/// The least that an engine takes (moby, `daemon/daemon_unix.go`, `linuxMinMemory`).
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

/// A name of a host is no longer (sethostname(2)).
const LONGEST_HOSTNAME: usize = 64;

/// Looks at one container.
pub(super) fn container(name: &str, entry: &Entry, unstartable: &mut Diagnostics) {
    let section = Place::ROOT.key("services");
    let mut judge = Judge { place: section.key(name), service: &entry.node, unstartable };
    judge.places();
    judge.modes();
    judge.memory();
    judge.cpus();
    judge.rights();
    judge.names();
    judge.health();
    judge.log();
}

struct Judge<'a> {
    place: Place<'a>,
    service: &'a Node,
    unstartable: &'a mut Diagnostics,
}

impl<'a> Judge<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.service.get(key).filter(|node| !node.is_null())
    }

    /// A value that is a single one, with its place.
    fn text(&self, keys: &[&str]) -> Option<(Span, &'a str)> {
        let node = keys.iter().try_fold(self.service, |node, key| node.get(key))?;
        Some((node.span, node.as_text()?))
    }

    fn number(&self, keys: &[&str]) -> Option<(Span, i64)> {
        let (span, text) = self.text(keys)?;
        Some((span, text.parse().ok()?))
    }

    fn list(&self, key: &str) -> &'a [Node] {
        self.get(key).and_then(Node::as_sequence).unwrap_or_default()
    }

    fn bad(&mut self, keys: &[&str], span: Span, why: &str, help: &str) {
        fn below(place: &Place<'_>, keys: &[&str], tell: &mut dyn FnMut(&Place<'_>)) {
            match keys {
                [] => tell(place),
                [key, rest @ ..] => below(&place.key(key), rest, tell),
            }
        }
        below(&self.place, keys, &mut |place| bad_value(place, span, why, help, self.unstartable));
    }

    // ── paths inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn places(&mut self) {
        const HELP: &str = "write the path inside from `/` on";
        if let Some((span, path)) = self.text(&["working_dir"]).filter(|(_, path)| !path.is_empty() && !path.starts_with('/')) {
            self.bad(&["working_dir"], span, &format!("`{path}` is not an absolute path"), HELP);
        }
        let mounts = self.list("volumes").iter().filter_map(|mount| Some(("volumes", mount.get("target")?)));
        let in_memory = self.list("tmpfs").iter().map(|mount| ("tmpfs", mount));
        for (key, node) in mounts.chain(in_memory) {
            let target = node.as_text().unwrap_or_default();
            let target = if key == "tmpfs" { target.split(':').next().unwrap_or_default() } else { target };
            // That there is none at all is told already.
            if target.is_empty() {
                continue;
            }
            if !target.starts_with('/') {
                let is_drive = matches!(target.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
                let help = if is_drive {
                    "a single letter before `:` is a drive of Windows: give the volume a longer name"
                } else {
                    HELP
                };
                self.bad(&[key], node.span, &format!("`{target}` is not an absolute path"), help);
            } else if target.bytes().all(|byte| byte == b'/') {
                self.bad(&[key], node.span, "nothing can be mounted over the whole container", "name a directory inside");
            }
        }
        for node in self.list("devices").iter().filter_map(|device| device.get("permissions")) {
            let text = node.as_text().unwrap_or_default();
            if !text.chars().all(|c| "rwm".contains(c)) {
                let why = format!("`{text}` are no permissions of a device");
                self.bad(&["devices", "permissions"], node.span, &why, "write `r`, `w`, `m` or several of them");
            }
        }
    }

    // ── name spaces ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn modes(&mut self) {
        /// What is shared with a container or a service.
        const SHARED: [&str; 2] = ["service:", "container:"];
        for (key, words, may_share) in [
            ("ipc", &["host", "none", "private", "shareable"][..], true),
            ("pid", &["host"], true),
            ("uts", &["host"], false),
            ("userns_mode", &["host"], false),
            ("isolation", &["default"], false),
        ] {
            let Some((span, mode)) = self.text(&[key]).filter(|(_, mode)| !mode.is_empty() && !words.contains(mode)) else {
                continue;
            };
            if may_share && SHARED.iter().any(|prefix| mode.strip_prefix(prefix).is_some_and(|name| !name.is_empty())) {
                continue;
            }
            let help = match (closest(mode, words.iter().copied()), may_share) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, true) => format!("it is one of `{}`, or `service:NAME`", words.join("`, `")),
                (None, false) => format!("it is `{}`, or nothing", words.join("`, `")),
            };
            self.bad(&[key], span, &format!("`{mode}` is not a mode of it"), &help);
        }
    }

    // ── limits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// What an attribute says, or `deploy` in its place.
    fn memory_of(&self, plain: &'a str, deployed: &'a str) -> Option<(Span, i64)> {
        self.number(&["deploy", "resources", deployed, "memory"]).or_else(|| self.number(&[plain]))
    }

    fn memory(&mut self) {
        let limit = self.memory_of("mem_limit", "limits").filter(|(_, bytes)| *bytes != 0);
        let reserved = self.memory_of("mem_reservation", "reservations").filter(|(_, bytes)| *bytes != 0);
        for (key, found) in [("mem_limit", limit), ("mem_reservation", reserved)] {
            if let Some((span, bytes)) = found.filter(|(_, bytes)| *bytes < LEAST_MEMORY) {
                self.bad(&[key], span, &format!("{bytes} bytes are too few"), "an engine wants `6m` or more; 0 is no limit");
                return;
            }
        }
        if let (Some((_, limit)), Some((span, reserved))) = (limit, reserved)
            && reserved > limit
        {
            let why = format!("{reserved} bytes are more than the limit of {limit}");
            self.bad(&["mem_reservation"], span, &why, "reserve less, or raise `mem_limit`");
        }
        if let Some((span, both)) = self.number(&["memswap_limit"]).filter(|(_, bytes)| *bytes > 0) {
            let help = "it is memory and swap together: write `mem_limit` or more, or -1 for no limit";
            match limit {
                None => self.bad(&["memswap_limit"], span, "there is no `mem_limit`", help),
                Some((_, limit)) if both < limit => {
                    self.bad(&["memswap_limit"], span, &format!("{both} bytes are less than the memory of {limit}"), help);
                }
                Some(_) => {}
            }
        }
        if let Some((span, share)) = self.number(&["mem_swappiness"]).filter(|(_, share)| !(-1..=100).contains(share)) {
            self.bad(&["mem_swappiness"], span, &format!("{share} is out of range"), "write a number from 0 to 100");
        }
        if let Some((span, size)) = self.number(&["shm_size"]).filter(|(_, size)| *size < 0) {
            self.bad(&["shm_size"], span, &format!("{size} is negative"), "write a size such as `64m`");
        }
    }

    fn cpus(&mut self) {
        let deployed: &[&str] = &["deploy", "resources", "limits", "cpus"];
        let said = self.text(deployed).map(|found| (deployed, found)).or_else(|| Some((&["cpus"][..], self.text(&["cpus"])?)));
        let cpus = said.and_then(|(keys, (span, text))| Some((keys, span, text, text.parse::<f64>().ok()?)));
        if let Some((keys, span, text, _)) = cpus.filter(|(.., count)| *count != 0.0 && *count < 0.01) {
            self.bad(keys, span, &format!("{text} of a CPU is no share"), "write 0.01 or more; 0 is no limit");
        }
        for (key, least, most) in [("cpu_period", 1000, 1_000_000), ("cpu_quota", 1000, i64::MAX)] {
            let Some((span, time)) = self.number(&[key]).filter(|(_, time)| *time > 0) else { continue };
            if cpus.is_some_and(|(.., count)| count > 0.0) {
                self.bad(&[key], span, "`cpus` says how many already", "remove one of the two");
            } else if !(least..=most).contains(&time) {
                let range = if most == i64::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
                self.bad(&[key], span, &format!("{time} is out of range"), &format!("write {range} microseconds"));
            }
        }
        if let Some((span, weight)) = self.number(&["blkio_config", "weight"]).filter(|(_, weight)| *weight != 0)
            && !(10..=1000).contains(&weight)
        {
            self.bad(&["blkio_config", "weight"], span, &format!("{weight} is out of range"), "write a number from 10 to 1000");
        }
        if let Some((span, list)) = self.text(&["cpuset"]).filter(|(_, list)| !is_list_of_numbers(list)) {
            self.bad(&["cpuset"], span, &format!("`{list}` is no list of CPUs"), "write numbers and ranges, such as `0-3,6`");
        }
    }

    fn rights(&mut self) {
        for key in ["cap_add", "cap_drop"] {
            for node in self.list(key) {
                let text = node.as_text().unwrap_or_default();
                let name = kernel::capability(text);
                if name != "ALL" && !kernel::CAPABILITIES.contains(&name.as_str()) {
                    let near = closest(&name, kernel::CAPABILITIES);
                    let help = near.map_or("capabilities(7) lists them".to_owned(), |near| format!("did you mean `{near}`?"));
                    self.bad(&[key], node.span, &format!("`{text}` is not a capability"), &help);
                }
            }
        }
        for (name, entry) in entries(self.get("ulimits")) {
            if name != "rttime" && (name == "as" || !kernel::LIMITS.contains(&name)) {
                let near = closest(name, kernel::LIMITS.into_iter().filter(|known| *known != "as"));
                let help = near.map_or("getrlimit(2) lists them".to_owned(), |near| format!("did you mean `{near}`?"));
                self.bad(&["ulimits"], entry.key_span, &format!("`{name}` is not a limit"), &help);
                continue;
            }
            let number = |key: &str| entry.node.get(key).and_then(Node::as_text).and_then(|text| text.parse::<i64>().ok());
            if let (Some(soft), Some(hard)) = (number("soft"), number("hard"))
                && hard != -1
                && (soft == -1 || soft > hard)
            {
                let why = format!("the soft limit {soft} is above the hard one {hard}");
                let help = "a service may raise its soft limit up to the hard one; -1 is no limit";
                self.bad(&["ulimits", name], entry.key_span, &why, help);
            }
        }
    }

    // ── names and addresses ────────────────────────────────────────────────────────────────────────────────────────────

    fn mounted_images(&mut self) {
        let is_image = |mount: &&Node| mount.get("type").and_then(Node::as_text) == Some("image");
        for mount in self.list("volumes").iter().filter(is_image) {
            let help = "write `source: [REGISTRY/]NAME[:TAG]`, in small letters";
            match mount.get("source").and_then(|source| Some((source.span, source.as_text()?))) {
                Some((_, image)) if !image.is_empty() && is_reference(image) => {}
                Some((span, image)) if !image.is_empty() => {
                    self.bad(&["volumes"], span, &format!("`{image}` is no name of an image"), help);
                }
                Some(_) | None => self.bad(&["volumes"], mount.span, "an image is to be mounted, and none is named", help),
            }
            let subpath = mount.get("image").and_then(|image| image.get("subpath"));
            if let Some((span, path)) = subpath.and_then(|node| Some((node.span, node.as_text()?)))
                && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
            {
                let why = format!("`{path}` does not lie in the image");
                self.bad(&["volumes", "image", "subpath"], span, &why, "write a path from the image's root on, without `..`");
            }
        }
    }

    fn names(&mut self) {
        if let Some((span, image)) = self.text(&["image"]).filter(|(_, image)| !is_reference(image)) {
            let help = "write `[REGISTRY/]NAME[:TAG]`, in small letters";
            self.bad(&["image"], span, &format!("`{image}` is no name of an image"), help);
        }
        self.mounted_images();
        let tags = self.get("build").and_then(|build| build.get("tags")).and_then(Node::as_sequence).unwrap_or_default();
        for (span, tag) in tags.iter().filter_map(|tag| Some((tag.span, tag.as_text()?))) {
            if let Some(why) = reference::fault(tag) {
                self.bad(&["build", "tags"], span, &why, "write `[REGISTRY/]NAME[:TAG]`, in small letters");
            }
        }
        if let Some((span, host)) = self.text(&["hostname"]).filter(|(_, host)| host.len() > LONGEST_HOSTNAME) {
            let why = format!("`{host}` is longer than {LONGEST_HOSTNAME} characters");
            self.bad(&["hostname"], span, &why, "write a shorter name");
        }
        for node in self.list("extra_hosts") {
            let Some((host, address)) = node.as_text().and_then(|text| text.split_once('=')) else { continue };
            if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
                let why = format!("`{address}` of `{host}` is not an address");
                self.bad(&["extra_hosts"], node.span, &why, "write an IP address, or `host-gateway`");
            }
        }
        let of_networks = entries(self.get("networks"))
            .flat_map(|(network, entry)| ["ipv4_address", "ipv6_address"].map(|key| (network, key, entry.node.get(key))));
        for (network, key, node) in of_networks {
            let Some((node, address)) = node.and_then(|node| Some((node, node.as_text()?))) else { continue };
            let parsed = address.parse::<IpAddr>();
            if !address.is_empty() && !parsed.is_ok_and(|address| address.is_ipv4() == (key == "ipv4_address")) {
                let kind = if key == "ipv4_address" { "an IPv4" } else { "an IPv6" };
                let why = format!("`{address}` is not {kind} address");
                self.bad(&["networks", network, key], node.span, &why, "write the address alone, without a port or a mask");
            }
        }
        if let Some((span, address)) = self.text(&["mac_address"]).filter(|(_, address)| !is_hardware_address(address)) {
            self.bad(&["mac_address"], span, &format!("`{address}` is not one"), "write six bytes such as `02:42:ac:11:00:03`");
        }
    }

    // ── health and log ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn health(&mut self) {
        for key in ["interval", "timeout", "start_period", "start_interval"] {
            let Some((span, text)) = self.text(&["healthcheck", key]) else { continue };
            if duration::parse(text).is_some_and(|time| !time.is_zero() && time.as_micros() < 1000) {
                self.bad(&["healthcheck", key], span, &format!("`{text}` is too short"), "write `1ms` or more");
            }
        }
    }

    /// Only the drivers that every engine has are looked at.
    fn log(&mut self) {
        let driver = self.text(&["logging", "driver"]).map(|(_, driver)| driver);
        if !matches!(driver, Some("json-file" | "local")) {
            return;
        }
        if let Some((span, size)) = self.text(&["logging", "options", "max-size"])
            && size != "-1"
            && bytes::parse(size).is_none_or(|size| size == 0)
        {
            let place = ["logging", "options", "max-size"];
            self.bad(&place, span, &format!("`{size}` is not a size"), "write a size such as `20m`");
        }
        if let Some((span, files)) = self.text(&["logging", "options", "max-file"])
            && files.parse::<u32>().map_or(true, |files| files == 0)
        {
            let place = ["logging", "options", "max-file"];
            self.bad(&place, span, &format!("`{files}` is no number of files"), "write a number from 1 on");
        }
    }
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Entry)> {
    node.and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter)
}

/// A name with a tag or a digest, or the id of an image.
fn is_reference(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let is_hexadecimal = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_digest = digest.is_none_or(|digest| digest.split_once(':').is_some_and(|(_, hex)| is_hexadecimal(hex)));
    text.is_empty() || text.strip_prefix("sha256:").is_some_and(is_hexadecimal) || (is_digest && reference::fault(name).is_none())
}

/// `0-3,6`; nothing is all of them.
fn is_list_of_numbers(text: &str) -> bool {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    text.is_empty()
        || text.split(',').all(|part| match part.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
            None => number(part).is_some(),
        })
}

fn is_hardware_address(text: &str) -> bool {
    let bytes: Vec<&str> = text.split([':', '-']).collect();
    text.is_empty() || (bytes.len() == 6 && bytes.iter().all(|byte| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok()))
}

#[cfg(test)]
mod tests {
    use crate::load::testing::load;

    /// What forbids to start a container with this attribute: the text at its place, and the message.
    fn refused(attribute: &str) -> Vec<(String, String)> {
        let base = if attribute.starts_with("image") { "command: x" } else { "image: x" };
        let text =
            format!("services:\n  a:\n    {base}\n    {attribute}\n  b: {{image: y}}\nnetworks: {{n: }}\nvolumes: {{named: }}\n");
        let loaded = load(&[("compose.yaml", &text)]);
        assert!(loaded.diagnostics.is_empty(), "Compose shows it: {attribute}: {:?}", loaded.diagnostics);
        let found = loaded.unstartable.sorted().into_iter().map(|found| {
            assert!(found.help.is_some(), "{found:?}");
            let span = found.labels[0].span;
            (text[span.start as usize..span.end as usize].to_owned(), found.message.clone())
        });
        found.collect()
    }

    #[test]
    fn what_every_engine_refuses_is_told_at_its_place_before_the_start() {
        for (attribute, at, message) in [
            ("working_dir: app", "app", "`services.a.working_dir`: `app` is not an absolute path"),
            ("volumes: [{type: volume, target: data}]", "data", "`services.a.volumes`: `data` is not an absolute path"),
            ("volumes: ['d:/data']", "'d:/data'", "`services.a.volumes`: `d:/data` is not an absolute path"),
            (
                "volumes: [{type: volume, target: /}]",
                "/",
                "`services.a.volumes`: nothing can be mounted over the whole container",
            ),
            (
                "volumes: [{type: image, target: /a}]",
                "{type: image, target: /a}",
                "`services.a.volumes`: an image is to be mounted, and none is named",
            ),
            ("volumes: [{type: image, source: A, target: /a}]", "A", "`services.a.volumes`: `A` is no name of an image"),
            (
                "volumes: [{type: image, source: a, target: /a, image: {subpath: ../b}}]",
                "../b",
                "`services.a.volumes.image.subpath`: `../b` does not lie in the image",
            ),
            ("tmpfs: 'run:size=1m'", "'run:size=1m'", "`services.a.tmpfs`: `run` is not an absolute path"),
            ("ipc: hsot", "hsot", "`services.a.ipc`: `hsot` is not a mode of it"),
            ("pid: private", "private", "`services.a.pid`: `private` is not a mode of it"),
            ("uts: private", "private", "`services.a.uts`: `private` is not a mode of it"),
            ("userns_mode: remap", "remap", "`services.a.userns_mode`: `remap` is not a mode of it"),
            ("isolation: hyperv", "hyperv", "`services.a.isolation`: `hyperv` is not a mode of it"),
            (
                "build: {context: ., tags: ['x:1', 'X:1']}",
                "'X:1'",
                "`services.a.build.tags`: `X:1` is no name of an image: it has to be in small letters",
            ),
            ("mem_limit: 5m", "5m", "`services.a.mem_limit`: 5242880 bytes are too few"),
            ("deploy: {resources: {limits: {memory: 5m}}}", "5m", "`services.a.mem_limit`: 5242880 bytes are too few"),
            ("mem_reservation: 1", "1", "`services.a.mem_reservation`: 1 bytes are too few"),
            (
                "{mem_limit: 8m, mem_reservation: 9m}",
                "9m",
                "`services.a.mem_reservation`: 9437184 bytes are more than the limit of 8388608",
            ),
            ("memswap_limit: 9m", "9m", "`services.a.memswap_limit`: there is no `mem_limit`"),
            (
                "{mem_limit: 9m, memswap_limit: 8m}",
                "8m",
                "`services.a.memswap_limit`: 8388608 bytes are less than the memory of 9437184",
            ),
            ("mem_swappiness: 101", "101", "`services.a.mem_swappiness`: 101 is out of range"),
            ("shm_size: -1", "-1", "`services.a.shm_size`: -1 is negative"),
            ("cpus: 0.001", "0.001", "`services.a.cpus`: 0.001 of a CPU is no share"),
            ("{cpus: 1, cpu_quota: 5000}", "5000", "`services.a.cpu_quota`: `cpus` says how many already"),
            ("cpu_period: 999", "999", "`services.a.cpu_period`: 999 is out of range"),
            ("blkio_config: {weight: 5}", "5", "`services.a.blkio_config.weight`: 5 is out of range"),
            ("cpuset: 3-1", "3-1", "`services.a.cpuset`: `3-1` is no list of CPUs"),
            ("cap_add: [NET_BIND]", "NET_BIND", "`services.a.cap_add`: `NET_BIND` is not a capability"),
            ("cap_drop: [al]", "al", "`services.a.cap_drop`: `al` is not a capability"),
            ("ulimits: {nofiles: 10}", "nofiles", "`services.a.ulimits`: `nofiles` is not a limit"),
            (
                "ulimits: {nofile: {soft: 2, hard: 1}}",
                "nofile",
                "`services.a.ulimits.nofile`: the soft limit 2 is above the hard one 1",
            ),
            ("image: Web", "Web", "`services.a.image`: `Web` is no name of an image"),
            ("image: 'a b'", "'a b'", "`services.a.image`: `a b` is no name of an image"),
            ("extra_hosts: ['h=1.2.3']", "'h=1.2.3'", "`services.a.extra_hosts`: `1.2.3` of `h` is not an address"),
            (
                "networks: {n: {ipv4_address: '::1'}}",
                "'::1'",
                "`services.a.networks.n.ipv4_address`: `::1` is not an IPv4 address",
            ),
            ("mac_address: '02:42'", "'02:42'", "`services.a.mac_address`: `02:42` is not one"),
            (
                "devices: ['/dev/a:/dev/a:rx']",
                "'/dev/a:/dev/a:rx'",
                "`services.a.devices.permissions`: `rx` are no permissions of a device",
            ),
            ("healthcheck: {test: x, interval: 999us}", "999us", "`services.a.healthcheck.interval`: `999µs` is too short"),
            (
                "logging: {driver: json-file, options: {max-size: lots}}",
                "lots",
                "`services.a.logging.options.max-size`: `lots` is not a size",
            ),
        ] {
            let attribute = attribute
                .strip_prefix('{')
                .and_then(|all| all.strip_suffix('}'))
                .map_or(attribute.to_owned(), |all| all.replace(", ", "\n    "));
            assert_eq!(refused(&attribute), [(at.to_owned(), message.to_owned())], "{attribute}");
        }
    }

    #[test]
    fn what_an_engine_may_take_is_left_to_it() {
        for attribute in [
            "working_dir: /app",
            "volumes: ['/data', './a:/b', 'named:/c']",
            "tmpfs: ['/run', '/tmp:size=1m']",
            "ipc: 'service:b'",
            "pid: 'container:other'",
            "userns_mode: ''",
            "mem_limit: 6m",
            "mem_limit: 0",
            "memswap_limit: -1",
            "mem_swappiness: 0",
            "cpus: 0",
            "cpu_quota: -1",
            "cpuset: '0-3,6'",
            "cap_add: [all, cap_sys_admin]",
            "ulimits: {nofile: {soft: 1024, hard: -1}, core: -1, rttime: 5}",
            "image: 'localhost:5000/a/b_c:1.2-x'",
            "image: 'a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'",
            "image: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'",
            "extra_hosts: ['h=host-gateway', 'i:::1', 'j=[::1]']",
            "networks: {n: {ipv4_address: 10.1.2.3, ipv6_address: 'fd00::1'}}",
            "mac_address: '02:42:ac:11:00:03'",
            "devices: ['/dev/a', '/dev/a:/dev/b:rwm']",
            "healthcheck: {test: x, interval: 1ms, timeout: 0s}",
            "logging: {driver: syslog, options: {max-size: lots}}",
            "logging: {driver: json-file, options: {max-size: 1m, max-file: '3'}}",
        ] {
            assert_eq!(refused(attribute), [], "{attribute}");
        }
    }
}
