//! `networks`, and how services are attached to them.

use super::objects::SET;
use super::service::{LABELS, OPTIONS};
use super::{Empty, Forms, Merge, Object, Shape, TEXTS, WHOLE, attribute, forms};

/// `true`, or `{name: …}` of old files.
pub(super) const EXTERNAL: Forms =
    Forms { wanted: "`true` or `false`", short: &[Shape::Object(&EXTERNAL_ENTRY)], rewrite: forms::external, long: &Shape::Flag };

const EXTERNAL_ENTRY: Object =
    Object { what: "`external`", attributes: &[attribute("name", Shape::Text, "Its name; write `name` beside it instead.")] };

pub(super) const NETWORK: Object = Object {
    what: "a network",
    attributes: &[
        attribute("name", Shape::Text, "Its name in the engine."),
        attribute("driver", Shape::Text, "The engine's driver."),
        attribute("driver_opts", Shape::Forms(&OPTIONS), "The driver's options."),
        attribute("ipam", Shape::Object(&IPAM), "Its addresses.").shown(Empty::Always),
        attribute("external", Shape::Forms(&EXTERNAL), "Made by somebody else: it must be there, and stays."),
        attribute("internal", Shape::Flag, "Without a way out."),
        attribute("enable_ipv4", Shape::Flag, "Whether it has IPv4.").shown(Empty::Shown),
        attribute("enable_ipv6", Shape::Flag, "Whether it has IPv6.").shown(Empty::Shown),
        attribute("attachable", Shape::Flag, "Containers may join by hand."),
        attribute("labels", Shape::Forms(&LABELS), "Labels."),
    ],
};

const IPAM: Object = Object {
    what: "`ipam`",
    attributes: &[
        attribute("driver", Shape::Text, "The driver that gives out addresses."),
        attribute("config", Shape::List(&Shape::Object(&POOL)), "Pools of addresses.").merged(Merge::ByKey("subnet")),
        attribute("options", Shape::Forms(&OPTIONS), "The driver's options."),
    ],
};

const POOL: Object = Object {
    what: "a pool of addresses",
    attributes: &[
        attribute("subnet", Shape::Text, "The network, such as `10.5.0.0/16`."),
        attribute("ip_range", Shape::Text, "The part of it that is given out."),
        attribute("gateway", Shape::Text, "The router's address."),
        attribute("aux_addresses", Shape::Map(&Shape::Text), "Names with addresses that are kept free."),
    ],
};

pub(super) const ATTACHMENT: Object = Object {
    what: "the attachment to a network",
    attributes: &[
        attribute("aliases", TEXTS, "Further names on this network.").merged(SET),
        attribute("interface_name", Shape::Text, "What the interface is called inside."),
        attribute("ipv4_address", Shape::Text, "A fixed address."),
        attribute("ipv6_address", Shape::Text, "A fixed address."),
        attribute("link_local_ips", TEXTS, "Link-local addresses.").merged(SET),
        attribute("mac_address", Shape::Text, "A fixed hardware address."),
        attribute("driver_opts", Shape::Forms(&OPTIONS), "The driver's options."),
        attribute("priority", WHOLE, "The highest is connected first."),
        attribute("gw_priority", WHOLE, "The highest is the way out."),
    ],
};
