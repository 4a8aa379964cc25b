//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity` (config.md, "Linux Process").

use std::fmt::{self, Display, Formatter};

use oci_spec::runtime::{IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process};
use serde::{Deserialize, Serialize};

use super::number_list::NumberList;
use crate::error::Problems;

/// How the program gets its share of the CPUs and disks, where the configuration says so.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Scheduling {
    /// `process.scheduler`
    pub scheduler: Option<Scheduler>,
    /// `process.ioPriority`
    pub io_priority: Option<IoPriority>,
}

/// What sched_setattr(2) takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Scheduler {
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// For the ordinary policies, -20 to 19.
    pub nice: i32,
    /// For the real-time policies, 1 to 99.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds, as the next two.
    pub runtime: u64,
    /// Until when, from the beginning of the period.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

impl Scheduler {
    /// Whether it is SCHED_DEADLINE's.
    pub fn is_deadline(&self) -> bool {
        self.policy == DEADLINE
    }
}

/// What ioprio_set(2) takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*`
    pub class: u8,
    /// 0, the highest, to 7.
    pub level: u8,
}

impl IoPriority {
    /// As the kernel encodes it (ioprio_set(2), `IOPRIO_PRIO_VALUE`).
    pub fn value(self) -> i32 {
        i32::from(self.class) << 13 | i32::from(self.level)
    }
}

/// The CPUs of an `exec` before and after its process is in the container's cgroup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecAffinity {
    /// Where the runtime runs until then; `None`: where it does.
    pub initial: Option<NumberList>,
    /// Where the program runs; `None`: wherever its cgroup allows.
    pub last: Option<NumberList>,
}

/// sched(7). `SCHED_ISO` has a number and nothing behind it in any kernel.
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", BATCH),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const DEADLINE: u32 = 6;

/// The shortest run that the kernel takes, in nanoseconds (sched(7): below it timers are too coarse).
const SHORTEST_RUNTIME: u64 = 1024;

pub(super) fn compile(process: &Process, problems: &mut Problems) -> Scheduling {
    Scheduling { scheduler: compile_scheduler(process, problems), io_priority: compile_io_priority(process, problems) }
}

fn compile_scheduler(process: &Process, problems: &mut Problems) -> Option<Scheduler> {
    let given = process.scheduler().as_ref()?;
    let name = given.policy().to_string();
    if *given.policy() == LinuxSchedulerPolicy::SchedIso {
        problems.add("process.scheduler.policy", "SCHED_ISO is in no Linux kernel; use SCHED_OTHER or SCHED_BATCH");
        return None;
    }
    let policy = POLICIES.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number);
    let mut refuse = |field: &str, message: String| problems.add(format!("process.scheduler.{field}"), message);
    let nice = given.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        refuse("nice", format!("{nice} is not within -20 to 19"));
    } else if nice != 0 && !matches!(policy, 0 | BATCH) {
        refuse("nice", format!("{nice} means nothing to {name}; it is for SCHED_OTHER and SCHED_BATCH"));
    }
    let priority = given.priority().unwrap_or(0);
    match policy {
        FIFO | RR if !(1..=99).contains(&priority) => {
            refuse("priority", format!("{priority} is not within 1 to 99, which {name} needs"));
        }
        FIFO | RR => {}
        _ if priority != 0 => {
            refuse("priority", format!("{priority} means nothing to {name}; it is for SCHED_FIFO and SCHED_RR"));
        }
        _ => {}
    }
    let times = [("runtime", given.runtime()), ("deadline", given.deadline()), ("period", given.period())];
    let [runtime, deadline, period] = times.map(|(_, time)| time.unwrap_or(0));
    if policy != DEADLINE {
        let given = times.iter().filter_map(|(field, time)| Some((*field, time.as_ref()?)));
        for (field, time) in given.filter(|(_, time)| **time != 0) {
            refuse(field, format!("{time} means nothing to {name}; it is for SCHED_DEADLINE"));
        }
    } else if runtime < SHORTEST_RUNTIME {
        refuse("runtime", format!("{runtime} is below the kernel's least, {SHORTEST_RUNTIME} nanoseconds"));
    } else if runtime > deadline || (period != 0 && deadline > period) {
        refuse("deadline", format!("{deadline} must be at least runtime, {runtime}, and at most period, {period}"));
    }
    let flags = given.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag));
    let priority = u32::try_from(priority).unwrap_or(0);
    Some(Scheduler { policy, flags, nice, priority, runtime, deadline, period })
}

/// include/uapi/linux/sched.h
fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

fn compile_io_priority(process: &Process, problems: &mut Problems) -> Option<IoPriority> {
    let given = process.io_priority().as_ref()?;
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u8::try_from(given.priority()).ok().filter(|level| *level <= 7);
    if level.is_none() {
        problems.add("process.ioPriority.priority", format!("{} is not within 0 to 7", given.priority()));
    }
    Some(IoPriority { class, level: level? })
}

pub(crate) fn compile_exec_affinity(process: &Process, problems: &mut Problems) -> ExecAffinity {
    let Some(given) = process.exec_cpu_affinity() else { return ExecAffinity::default() };
    let mut parse = |field: &str, text: &Option<String>| match NumberList::parse(text.as_deref().unwrap_or_default()) {
        Ok(list) => Some(list).filter(|list| !list.is_empty()),
        Err(message) => {
            problems.add(format!("process.execCPUAffinity.{field}"), message);
            None
        }
    };
    ExecAffinity { initial: parse("initial", given.initial()), last: parse("final", given.cpu_affinity_final()) }
}

impl Display for Scheduler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = POLICIES.iter().find(|(_, number)| *number == self.policy).map_or("?", |(name, _)| name);
        match self.policy {
            FIFO | RR => write!(f, "{name} with priority {}", self.priority)?,
            DEADLINE => write!(f, "{name} with {} of {} ns until {}", self.runtime, self.period, self.deadline)?,
            _ => write!(f, "{name} with nice {}", self.nice)?,
        }
        if self.flags != 0 {
            write!(f, ", flags {:#x}", self.flags)?;
        }
        Ok(())
    }
}

impl Display for IoPriority {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let class = ["none", "real-time", "best effort", "idle"].get(usize::from(self.class)).unwrap_or(&"?");
        write!(f, "{class}, level {}", self.level)
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, problems_of};

    fn with(process: &str) -> String {
        format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"rootfs"}},"linux":{{"namespaces":[{{"type":"mount"}}]}},
                "process":{{"cwd":"/","args":["true"],"user":{{"uid":0,"gid":0}},{process}}}}}"#
        )
    }

    #[test]
    fn policies_and_their_values() {
        let scheduler = |text: &str| {
            let plan = compile_text(&with(&format!(r#""scheduler":{text}"#))).unwrap();
            plan.inside.process.scheduling.scheduler.unwrap()
        };
        assert_eq!(scheduler(r#"{"policy":"SCHED_BATCH","nice":7}"#).to_string(), "SCHED_BATCH with nice 7");
        let fifo = scheduler(r#"{"policy":"SCHED_FIFO","priority":9,"flags":["SCHED_FLAG_RECLAIM"]}"#);
        assert_eq!((fifo.policy, fifo.priority, fifo.flags), (1, 9, 2));
        let deadline = scheduler(r#"{"policy":"SCHED_DEADLINE","runtime":2000,"deadline":3000,"period":4000}"#);
        assert_eq!((deadline.runtime, deadline.deadline, deadline.period), (2000, 3000, 4000));
    }

    #[test]
    fn what_is_refused() {
        for (process, field) in [
            (r#""scheduler":{"policy":"SCHED_ISO"}"#, "process.scheduler.policy"),
            (r#""scheduler":{"policy":"SCHED_OTHER","nice":20}"#, "process.scheduler.nice"),
            (r#""scheduler":{"policy":"SCHED_FIFO","priority":1,"nice":1}"#, "process.scheduler.nice"),
            (r#""scheduler":{"policy":"SCHED_FIFO"}"#, "process.scheduler.priority"),
            (r#""scheduler":{"policy":"SCHED_RR","priority":100}"#, "process.scheduler.priority"),
            (r#""scheduler":{"policy":"SCHED_OTHER","priority":1}"#, "process.scheduler.priority"),
            (r#""scheduler":{"policy":"SCHED_OTHER","period":1}"#, "process.scheduler.period"),
            (r#""scheduler":{"policy":"SCHED_DEADLINE","runtime":1}"#, "process.scheduler.runtime"),
            (r#""scheduler":{"policy":"SCHED_DEADLINE","runtime":2000,"deadline":1}"#, "process.scheduler.deadline"),
            (r#""ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}"#, "process.ioPriority.priority"),
            (r#""ioPriority":{"class":"IOPRIO_CLASS_BE","priority":-1}"#, "process.ioPriority.priority"),
            (r#""execCPUAffinity":{"initial":"3-1"}"#, "process.execCPUAffinity.initial"),
        ] {
            let text = problems_of(&with(process));
            assert!(text.contains(field), "{process}: {text}");
        }
    }

    #[test]
    fn io_priorities_are_encoded_as_the_kernel_has_it() {
        let plan = compile_text(&with(r#""ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":4}"#)).unwrap();
        assert_eq!(plan.inside.process.scheduling.io_priority.unwrap().value(), 3 << 13 | 4);
    }
}
