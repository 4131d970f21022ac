//! Which sockets are bound to a port, and whose they are, by the descriptors of processes: of our own user's alone, unless we are
//! root. A socket is known by the kernel's handle of it.

use std::collections::HashSet;
use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};

use tokio::net::TcpStream;

use super::{info, processes};

/// `PROX_FDTYPE_SOCKET`, `PROC_PIDFDSOCKETINFO`, `SOCKINFO_IN`, `SOCKINFO_TCP` and `TSI_S_LISTEN` (sys/proc_info.h).
const IS_SOCKET: u32 = 2;
const ABOUT_SOCKET: c_int = 3;
const KIND_IN: c_int = 1;
const KIND_TCP: c_int = 2;
const LISTENS: c_int = 1;

/// `struct socket_fdinfo` of sys/proc_info.h.
#[repr(C)]
struct SocketInfo {
    /// `struct proc_fileinfo`.
    file: [u64; 3],
    /// `struct vinfo_stat`.
    status: [u64; 17],
    handle: u64,
    control_block: u64,
    kind_of_socket: c_int,
    protocol: c_int,
    family: c_int,
    /// From `soi_options` to `soi_error`.
    state: [u16; 8],
    out_of_band: u32,
    /// Two of `struct sockbuf_info`.
    buffers: [[u32; 6]; 2],
    kind: c_int,
    reserved: u32,
    protocol_info: ProtocolInfo,
}

/// The union `soi_proto`, read as `struct tcp_sockinfo`, which begins with a `struct in_sockinfo`.
#[repr(C)]
struct ProtocolInfo {
    foreign_port: c_int,
    local_port: c_int,
    generation: u64,
    flags: u32,
    flow: u32,
    version: u8,
    hops: u8,
    reserved: u32,
    /// Both addresses.
    addresses: [[u32; 4]; 2],
    /// `insi_v4` and `insi_v6`.
    options: [u32; 4],
    tcp_state: c_int,
    /// Up to the size of `struct un_sockinfo`, the largest member.
    rest: [u64; 55],
}

// As the compiler lays out the header on both of its processors: with another size the kernel's answer would be another structure.
const _: () = assert!(size_of::<SocketInfo>() == 792);
const _: () = assert!(std::mem::offset_of!(SocketInfo, handle) == 160);
const _: () = assert!(std::mem::offset_of!(SocketInfo, kind) == 256);
const _: () = assert!(std::mem::offset_of!(SocketInfo, protocol_info) == 264);
const _: () = assert!(std::mem::offset_of!(ProtocolInfo, tcp_state) == 80);

impl SocketInfo {
    /// The socket of a descriptor; none where it is none any more, or we may not look.
    fn of(pid: i32, descriptor: c_int) -> Option<Self> {
        let mut info = MaybeUninit::<Self>::zeroed();
        let size = c_int::try_from(size_of::<Self>()).ok()?;
        // SAFETY: the buffer is as long as we say.
        let filled = unsafe { libc::proc_pidfdinfo(pid, descriptor, ABOUT_SOCKET, info.as_mut_ptr().cast(), size) };
        // SAFETY: numbers, of which any bytes are some.
        (filled == size).then(|| unsafe { info.assume_init() })
    }

    /// The port that it is bound to, of this host.
    fn port(&self) -> u16 {
        // In the order of the network, in the lower half.
        u16::from_be(self.protocol_info.local_port as u16)
    }

    fn listens_at(&self, port: u16) -> bool {
        self.kind == KIND_TCP && self.protocol_info.tcp_state == LISTENS && self.port() == port
    }

    fn is_bound_to(&self, port: u16) -> bool {
        let is_free = self.protocol_info.foreign_port == 0;
        self.kind == KIND_IN && self.protocol == libc::IPPROTO_UDP && is_free && self.port() == port
    }
}

/// The sockets that listen on a TCP port of this host.
pub fn listening(port: u16) -> HashSet<u64> {
    all().filter(|socket| socket.listens_at(port)).map(|socket| socket.handle).collect()
}

/// The UDP sockets that are bound to a port and connected to nobody.
pub fn bound_udp(port: u16) -> HashSet<u64> {
    all().filter(|socket| socket.is_bound_to(port)).map(|socket| socket.handle).collect()
}

/// Whether the kernel keeps a port from being bound for what is left of connections: it is bound all the same by those who ask for
/// it again, as we do.
pub fn is_left_by_connections(_port: u16) -> bool {
    false
}

/// Waits until the other side of a connection is closed. That is not told while there is something to be read before it.
pub async fn closed_by_peer(connection: &TcpStream) -> io::Result<()> {
    match connection.peek(&mut [0]).await? {
        0 => Ok(()),
        _ => std::future::pending().await,
    }
}

/// The sockets of a process; none when we may not look.
pub fn of_process(pid: i32) -> Option<HashSet<u64>> {
    Some(sockets(pid)?.map(|socket| socket.handle).collect())
}

fn all() -> impl Iterator<Item = SocketInfo> {
    processes::numbers().into_iter().filter_map(sockets).flatten()
}

fn sockets(pid: i32) -> Option<impl Iterator<Item = SocketInfo>> {
    let descriptors = info::descriptors(pid)?.into_iter().filter(|descriptor| descriptor.proc_fdtype == IS_SOCKET);
    Some(descriptors.filter_map(move |descriptor| SocketInfo::of(pid, descriptor.proc_fd)))
}
