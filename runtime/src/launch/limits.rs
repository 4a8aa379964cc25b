//! Resource limits that the container's process can not raise by itself.

use rustix::process::{Pid, Rlimit as Limits};

use crate::error::Result;
use crate::plan::{Rlimit, limit_error};

/// Raises what is to be higher than it is (prlimit(2)): in a user namespace the stage has no right to do it. It sets
/// the exact limits itself when it is done, so that a low one does not hinder it.
pub(super) fn raise(pid: Pid, rlimits: &[Rlimit]) -> Result<()> {
    for limit in rlimits {
        let Some(resource) = limit.resource() else { continue };
        let now = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        if limit.hard <= now {
            continue;
        }
        let hard = (limit.hard != u64::MAX).then_some(limit.hard);
        rustix::process::prlimit(Some(pid), resource, Limits { current: hard, maximum: hard })
            .map_err(|errno| limit_error(*limit, errno))?;
    }
    Ok(())
}
