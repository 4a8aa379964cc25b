//! One more program in a running container.

use std::ffi::{CStr, CString};

use libc::{
    CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, CLONE_PARENT, O_DIRECTORY, O_PATH, O_WRONLY,
};

use crate::cgroups::HIERARCHIES;
use crate::entry::STAGE;
use crate::inside;
use crate::kernel::{at, call, clone_to_execute, close, execute, must, open, wait, write};
use crate::pieces::{self, Pieces};

/// All that the default configuration makes but the pid namespace, which has to be joined before the clone.
const OTHERS: i32 = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;

/// Joins, executes, waits.
pub fn run(pieces: Pieces, states: &CStr, pid: &CStr, name: &CStr, program: &[CString]) -> libc::c_int {
    let number: usize = pid.to_str().ok().and_then(|pid| pid.parse().ok()).unwrap_or(0);
    if pieces.has("look") {
        look_up(states, pid, name);
    }
    if pieces.has("process") {
        pieces::take_signals();
    }
    let init = must(call(libc::SYS_pidfd_open, [number, 0]));
    let (unified, tasks) = entrances(name);
    let enter = || tasks.iter().for_each(|tasks| write(*tasks, b"0"));
    if !pieces.has("stage") {
        must(call(libc::SYS_setns, [init, CLONE_NEWPID as usize]));
        let child = clone_to_execute(0, unified, &|| {
            enter();
            must(call(libc::SYS_setns, [init, OTHERS as usize]));
            become_program(pieces, 0, program);
        });
        return wait(child);
    }
    let [file, mount] = pieces::unwritable_self();
    let connection = pieces.has("channel").then(|| (pieces::connection(), pieces::write_plan()));
    let (channel, plan) = connection.map_or((0, 0), |([_, theirs], plan)| (theirs, plan));
    let numbers = [pieces.bits(), channel, plan, init].map(|number| number.to_string());
    let words = [STAGE, "exec"].into_iter().chain(numbers.iter().map(String::as_str));
    let arguments: Vec<CString> =
        words.map(|word| CString::new(word).unwrap_or_default()).chain(program.iter().cloned()).collect();
    let pointers: Vec<usize> = arguments.iter().map(|argument| at(argument)).chain([0]).collect();
    clone_to_execute(0, unified, &|| {
        enter();
        close(mount);
        pieces::close_the_rest();
        [Some(init), connection.map(|_| channel), connection.map(|_| plan)]
            .into_iter()
            .flatten()
            .for_each(|handed_over| pieces::keep(handed_over, true));
        let none = [0_usize];
        let options = [file, at(c""), pointers.as_ptr() as usize, none.as_ptr() as usize, libc::AT_EMPTY_PATH as usize];
        must(call(libc::SYS_execveat, options));
    });
    close(file);
    close(mount);
    if let Some(([ours, theirs], plan)) = connection {
        close(theirs);
        close(plan);
        // The stage may join; there is a process; it is ready; it runs.
        pieces::tell(ours);
        pieces::hear(ours);
        pieces::tell(ours);
        pieces::hear(ours);
        pieces::hear(ours);
    }
    // Stage and program are both this process's children.
    let mut status = 0;
    for _ in 0..2 {
        status |= wait(usize::MAX);
    }
    status
}

/// What a runtime knows of a container is in files.
fn look_up(states: &CStr, pid: &CStr, name: &CStr) {
    let (states, pid, name) = (states.to_string_lossy(), pid.to_string_lossy(), name.to_string_lossy());
    let files = ["state.json", "init", "init"].map(|file| format!("{states}/{name}/{file}"));
    let process = ["stat", "stat", "cgroup"].map(|file| format!("/proc/{pid}/{file}"));
    for path in files.into_iter().chain(process).chain([format!("/sys/fs/cgroup/{name}/cgroup.freeze")]) {
        pieces::read_all(&CString::new(path).unwrap_or_default());
    }
    pieces::look_at_modules(&CString::new(format!("{states}/{name}/config.json")).unwrap_or_default());
}

/// The cgroup of version 2 to be born in, and the files through which a process enters the others.
fn entrances(name: &CStr) -> (usize, Vec<usize>) {
    let name = name.to_string_lossy();
    let path = |directory: &str, file: &str| {
        CString::new(format!("/sys/fs/cgroup/{directory}{name}{file}")).unwrap_or_default()
    };
    if call(libc::SYS_access, [at(c"/sys/fs/cgroup/cgroup.controllers"), 0]) == 0 {
        return (open(&path("", ""), O_PATH | O_DIRECTORY), Vec::new());
    }
    let mut tasks = Vec::new();
    for hierarchy in HIERARCHIES.iter().filter(|hierarchy| **hierarchy != "unified") {
        let file = path(&format!("{hierarchy}/"), "/tasks");
        let flags = (O_WRONLY | libc::O_CLOEXEC) as usize;
        let opened = call(libc::SYS_openat, [libc::AT_FDCWD as usize, at(&file), flags, 0]);
        tasks.extend(usize::try_from(opened));
    }
    let unified = path("unified/", "");
    let flags = (O_PATH | O_DIRECTORY | libc::O_CLOEXEC) as usize;
    let opened = call(libc::SYS_openat, [libc::AT_FDCWD as usize, at(&unified), flags, 0]);
    (usize::try_from(opened).unwrap_or(0), tasks)
}

/// In another program: joins, and clones once more, as the pid namespace is for children only.
pub fn stage(pieces: Pieces, channel: usize, plan: usize, init: usize, program: &[CString]) -> libc::c_int {
    must(call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0]));
    if channel != 0 {
        pieces::keep(channel, false);
        pieces::keep(plan, false);
        pieces::read_plan(plan);
    }
    pieces::keep(init, false);
    if channel != 0 {
        pieces::answer(channel);
    }
    must(call(libc::SYS_setns, [init, (OTHERS | CLONE_NEWPID) as usize]));
    clone_to_execute(CLONE_PARENT as u64, 0, &|| {
        if channel != 0 {
            pieces::tell(channel);
        }
        become_program(pieces, channel, program)
    });
    0
}

fn become_program(pieces: Pieces, channel: usize, program: &[CString]) -> ! {
    pieces::join_keyring();
    if pieces.has("process") {
        pieces::set_up_process(&program[0]);
    }
    inside::drop_privileges();
    if channel != 0 {
        pieces::tell(channel);
        pieces::answer(channel);
    }
    must(call(libc::SYS_chdir, [at(c"/")]));
    execute(&program[0], program)
}
