//! The OCI runtime: a library and the command `pipkin-runtime`.
//!
//! A boot goes through these modules in this order: [`config`] reads config.json, [`plan`] decides everything
//! without touching the system, [`launch`] works outside the container, [`stage`] inside it, [`state`] keeps what
//! other commands need. [`container`] is the door for callers.

pub mod cgroup;
pub(crate) mod channel;
pub mod cli;
pub mod config;
pub mod container;
pub mod criu;
pub mod error;
pub mod launch;
pub mod log;
pub mod lsm;
pub mod plan;
pub mod resctrl;
pub mod seccomp;
pub mod stage;
pub mod state;
pub mod sys;
pub mod trace;
