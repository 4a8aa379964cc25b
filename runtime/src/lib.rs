//! The OCI runtime: a library and the command `pipkin-runtime`.
//!
//! A boot goes through these modules in this order: [`config`] reads config.json, [`plan`] decides everything
//! without touching the system, [`launch`] works outside the container, [`stage`] inside it, [`state`] keeps what
//! other commands need.

pub mod cgroup;
pub mod error;
pub mod seccomp;
