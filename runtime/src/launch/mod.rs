//! Outside the container: makes its processes and everything that the container must not do for itself.

mod boot;
mod console;
mod exec;
mod executable;
mod foreground;
pub(crate) mod hooks;
mod id_maps;
mod limits;
mod mount_sources;
mod net_devices;
mod netlink;
mod network;
mod notify;
mod pidfd_socket;
mod process;
pub(crate) mod seccomp_agent;
mod task;

pub(crate) use boot::write_pid_file;
pub use boot::{Boot, Booted, boot};
pub(crate) use console::send_master;
pub use exec::{Join, Joined, join};
pub use foreground::{Foreground, Outcome};
pub(crate) use notify::notify_inside;
pub use notify::{NotifyRelay, NotifySocket};
pub use process::Child;
pub(crate) use task::check_preserved;
