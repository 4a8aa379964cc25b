//! `linux.resources` as values for cgroup files, whichever version a controller lives in.
//!
//! config-linux.md, "Control groups". Zero means "not set" for every number where runc reads it so, because engines
//! write it so.

mod block_io;
mod cpu;
mod memory;
mod rest;
mod unified;

use oci_spec::runtime::LinuxResources;

use super::layout::{Layout, Version};
use super::setting::Setting;
use crate::error::Problems;

/// Where the values go and what is wrong with them.
pub struct Compiler<'a> {
    /// The host's hierarchies.
    pub layout: &'a Layout,
    /// The values so far, in the order in which they are to be written.
    pub settings: Vec<Setting>,
    /// What is wrong.
    pub problems: &'a mut Problems,
    /// What stands before a field's name in messages: `linux.resources.` or nothing.
    pub prefix: &'static str,
    /// Whether the cgroup is new: then "unlimited" need not be written.
    pub fresh: bool,
}

impl Compiler<'_> {
    /// Every resource but devices.
    pub fn compile(&mut self, resources: &LinuxResources) {
        self.memory(resources);
        self.cpu(resources);
        self.pids(resources);
        self.block_io(resources);
        self.huge_pages(resources);
        self.network(resources);
        self.rdma(resources);
        self.unified(resources);
    }

    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The version in which `controller` can limit something.
    fn version(&self, controller: &str) -> Option<Version> {
        self.layout.of(controller).map(|hierarchy| hierarchy.version)
    }

    /// As [`Compiler::version`]; its absence is a problem of `field`.
    fn needed(&mut self, controller: &str, field: &str) -> Option<Version> {
        let version = self.version(controller);
        if version.is_none() {
            let message = format!(
                "needs the cgroup controller \"{controller}\", which is not available here{}",
                match self.layout.hierarchies.is_empty() {
                    true => " (no cgroup hierarchy is mounted)".to_owned(),
                    false => format!(" (there are {})", self.available()),
                }
            );
            self.problem(field, message);
        }
        version
    }

    fn available(&self) -> String {
        let all: Vec<&str> = self.layout.hierarchies.iter().flat_map(|h| &h.controllers).map(String::as_str).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    fn set(&mut self, file: impl Into<String>, value: impl ToString, field: &str) {
        let field = self.field(field);
        self.settings.push(Setting::new(file, value, field));
    }

    fn problem(&mut self, field: &str, message: impl std::fmt::Display) {
        let field = self.field(field);
        self.problems.add(field, message);
    }
}

/// How version 2 writes a limit: `max` for unlimited.
fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}
