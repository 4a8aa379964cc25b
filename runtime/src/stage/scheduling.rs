//! Which CPUs, how much of them, of the disks and of which memory: what the program inherits through its exec.

use nix::errno::Errno;
use rustix::process::Pid;
use rustix::thread::CpuSet;

use crate::error::{Context, Error, Result};
use crate::plan::{NumberList, Process, Scheduling};
use crate::sys::scheduling as sys;

/// `process.scheduler` and `process.ioPriority`, of a process or of the caller.
pub(crate) fn set_scheduling(pid: Option<Pid>, scheduling: &Scheduling) -> Result<()> {
    if let Some(scheduler) = &scheduling.scheduler {
        let attributes = sys::SchedulerAttributes {
            policy: scheduler.policy,
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
            ..sys::SchedulerAttributes::default()
        };
        sys::sched_setattr(pid, &attributes).map_err(|errno| {
            let error = Error::system(format!("process.scheduler: set {scheduler}"), errno);
            match errno {
                Errno::EPERM => error.remedy(
                    "needs CAP_SYS_NICE in the host's user namespace, and for real time a cgroup with real-time budget (cpu.rt_runtime_us)",
                ),
                Errno::EBUSY => error.remedy("the CPUs have no such bandwidth left"),
                Errno::EOPNOTSUPP => error.remedy("this kernel does not have that flag"),
                _ => error,
            }
        })?;
    }
    if let Some(priority) = scheduling.io_priority {
        sys::ioprio_set(pid, priority.value()).map_err(|errno| {
            let error = Error::system(format!("process.ioPriority: set {priority}"), errno);
            if errno == Errno::EPERM {
                error.remedy("real time needs CAP_SYS_NICE in the host's user namespace; use IOPRIO_CLASS_BE")
            } else {
                error
            }
        })?;
    }
    Ok(())
}

/// What a process can only do to itself: its CPUs, its memory nodes and its personality.
pub(super) fn settle(process: &Process) -> Result<()> {
    settle_on_cpus(process.affinity.as_ref())?;
    if let Some(policy) = &process.memory_policy {
        sys::set_mempolicy(policy.mode, policy.nodes.words()).map_err(|errno| {
            let error = Error::system(format!("linux.memoryPolicy: set {policy}"), errno);
            match errno {
                Errno::EINVAL => error.remedy(
                    "are these nodes in /sys/devices/system/node/has_memory and in linux.resources.cpu.mems, and does this kernel have the mode?",
                ),
                Errno::ENOSYS => error.remedy("this kernel has no NUMA support"),
                _ => error,
            }
        })?;
    }
    if let Some(domain) = process.personality {
        let persona = nix::sys::personality::Persona::from_bits_retain(domain as i32);
        nix::sys::personality::set(persona).step(|| format!("linux.personality: set domain {domain}"))?;
    }
    Ok(())
}

/// The program does not inherit the CPUs that an engine has pinned itself to: it gets those asked for, or all that its
/// cgroup allows.
fn settle_on_cpus(asked: Option<&NumberList>) -> Result<()> {
    match asked {
        Some(asked) => set_affinity(asked, "final", &mut CpuSet::new()),
        None => {
            // Refused by some sandboxes; then it stays as it is.
            let _ = sys::run_on_all_cpus();
            Ok(())
        }
    }
}

/// `process.execCPUAffinity.initial`: before the process is cloned, which inherits it.
pub(crate) fn set_initial_affinity(asked: &NumberList) -> Result<()> {
    set_affinity(asked, "initial", &mut CpuSet::new())
}

fn set_affinity(asked: &NumberList, field: &str, cpus: &mut CpuSet) -> Result<()> {
    asked.numbers().for_each(|number| cpus.set(number as usize));
    rustix::thread::sched_setaffinity(None, cpus).map_err(|errno| {
        let error = Error::system(format!("process.execCPUAffinity.{field}: run on CPUs {asked}"), errno);
        if errno == rustix::io::Errno::INVAL {
            error.remedy("none of them is online and in linux.resources.cpu.cpus")
        } else {
            error
        }
    })
}
