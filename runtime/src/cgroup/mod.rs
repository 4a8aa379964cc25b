//! Where a container runs and what it may use: cgroups v1, v2 and hybrid behind one interface.
//!
//! [`Layout`] is what the host has, [`Plan`] what is to be done (pure), [`Cgroup`] the thing itself, [`Record`] how later
//! commands find it again. Sources: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst,
//! and config-linux.md, "Control groups".
//!
//! How a process gets in decides the boot time. On version 2 it is born inside ([`Cgroup::clone_into`]). On version 1
//! writing its id to `cgroup.procs` waits for an RCU grace period, 5 to 20 ms; but a process with a single thread that
//! writes `0` to `tasks` itself waits for nothing (nine hierarchies in 0.2 ms): [`Cgroup::doors`] and [`enter_through`].

mod create;
mod describe;
mod device_program;
mod devices;
mod enter;
mod events;
mod file;
mod freezer;
mod handle;
mod kill;
mod layout;
mod oom;
mod path;
mod plan;
mod record;
mod remove;
mod resources;
mod restrict;
mod setting;
pub mod stats;
mod sub_cgroup;
mod systemd;
mod update;

pub use devices::{Access, DeviceKind, Devices, Rule, Rules};
pub use enter::enter_through;
pub use handle::Cgroup;
pub use layout::{Hierarchy, Layout, Version};
pub use oom::OomEvents;
pub use plan::{Driving, Manager, Plan};
pub use record::{CgroupMount, Record};
pub use stats::Stats;
pub use sub_cgroup::SubCgroups;
pub use systemd::Unit;
