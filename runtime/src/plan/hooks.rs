//! `hooks` (config.md, "POSIX-platform Hooks").

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::Request;
use crate::error::Problems;
use crate::state::Document;

/// The spec's hooks that run in the container's namespaces, and the state they are told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InsideHooks {
    /// Before the root is changed: their paths are the host's.
    pub create_container: Vec<Hook>,
    /// Before the program starts: their paths are the container's.
    pub start_container: Vec<Hook>,
    /// What they get on standard input, but for status and pid.
    pub state: Document,
}

/// The spec's hooks that run outside of the container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Hooks {
    /// In the runtime's namespaces, before the root is changed (deprecated by the spec, used by Docker).
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, before the root is changed.
    pub create_runtime: Vec<Hook>,
    /// After the program started.
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    pub poststop: Vec<Hook>,
}

/// A program that gets the container's state on standard input (config.md, POSIX-platform hooks).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Hook {
    /// An absolute path.
    pub path: PathBuf,
    /// The whole argument vector; empty: just the path.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// In seconds.
    pub timeout: Option<u32>,
}

pub(super) fn compile(request: &Request<'_>, spec: &Spec, problems: &mut Problems) -> (Hooks, Option<InsideHooks>) {
    let Some(hooks) = spec.hooks() else { return (Hooks::default(), None) };
    let mut compile = |kind: &str, list: &Option<Vec<oci_spec::runtime::Hook>>| -> Vec<Hook> {
        let mut compiled = Vec::new();
        for (index, hook) in list.iter().flatten().enumerate() {
            let field = format!("hooks.{kind}[{index}]");
            if !hook.path().is_absolute() {
                problems.add(format!("{field}.path"), format!("{:?} is not an absolute path", hook.path()));
            }
            let timeout = hook.timeout().map(u32::try_from);
            if matches!(timeout, Some(Err(_) | Ok(0))) {
                problems.add(format!("{field}.timeout"), "must be a number of seconds above 0");
            }
            compiled.push(Hook {
                path: hook.path().clone(),
                args: hook.args().clone().unwrap_or_default(),
                env: hook.env().clone().unwrap_or_default(),
                timeout: timeout.and_then(std::result::Result::ok),
            });
        }
        compiled
    };
    let outside = Hooks {
        prestart: compile("prestart", hooks.prestart()),
        create_runtime: compile("createRuntime", hooks.create_runtime()),
        poststart: compile("poststart", hooks.poststart()),
        poststop: compile("poststop", hooks.poststop()),
    };
    let create_container = compile("createContainer", hooks.create_container());
    let start_container = compile("startContainer", hooks.start_container());
    let any = !create_container.is_empty() || !start_container.is_empty();
    let inside = any.then(|| InsideHooks {
        create_container,
        start_container,
        state: Document::of(request.id, request.bundle, spec),
    });
    (outside, inside)
}
