//! A container from nothing to nothing.

use std::ffi::{CStr, CString};

use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS};

use crate::entry::STAGE;
use crate::kernel::{at, call, clone_to_execute, close, execute, must, wait, write};
use crate::pieces::{self, Pieces, State};
use crate::{cgroups, handles, inside};

/// Boots, waits, removes.
pub fn run(pieces: Pieces, states: &CStr, rootfs: &CStr, name: &CStr, program: &[CString]) -> libc::c_int {
    let path = |parts: &[&CStr]| {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.to_bytes()).collect();
        CString::new(parts.concat()).unwrap_or_default()
    };
    if pieces.has("look") {
        pieces::look_around(&path(&[rootfs, c"/../config.json"]));
    }
    if pieces.has("process") {
        pieces::take_signals();
    }
    let directory = path(&[states, c"/", name]);
    let state = pieces.has("state").then(|| State::make(&directory));
    let cgroups = cgroups::make(&name.to_string_lossy(), !pieces.has("devices"));
    let stage = pieces.has("stage").then(pieces::unwritable_self);
    let connection = pieces.has("channel").then(|| (pieces::connection(), pieces::write_plan()));
    let arguments = stage_arguments(pieces, connection, cgroups.pure, rootfs, &cgroups.paths, program);
    let pointers: Vec<usize> = arguments.iter().map(|argument| at(argument)).chain([0]).collect();
    let others = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    let namespaces = if pieces.has("network") { others } else { others | CLONE_NEWNET };
    let child = clone_to_execute(namespaces as u64, cgroups.unified, &|| {
        cgroups.tasks.iter().for_each(|tasks| write(*tasks, b"0"));
        let Some([file, mount]) = stage else {
            become_container(pieces, 0, cgroups.pure, rootfs, &cgroups.paths, program);
        };
        close(mount);
        pieces::close_the_rest();
        if let Some(([_, theirs], plan)) = connection {
            pieces::keep(theirs, true);
            pieces::keep(plan, true);
        }
        let none = [0_usize];
        let options = [file, at(c""), pointers.as_ptr() as usize, none.as_ptr() as usize, libc::AT_EMPTY_PATH as usize];
        must(call(libc::SYS_execveat, options));
    });
    if let (Some(([ours, _], _)), true) = (connection, pieces.has("network")) {
        pieces::hand_over_network(ours);
    }
    // Rules of version 1 come into force one by one, and would be in the way of who makes the devices: they are there already.
    if pieces.has("devices") && cgroups.pure {
        cgroups::restrict(&cgroups.paths, cgroups.pure);
    }
    state.iter().for_each(|state| state.keep(child));
    if let Some([file, mount]) = stage {
        close(file);
        close(mount);
    }
    if let Some(([ours, theirs], plan)) = connection {
        close(theirs);
        close(plan);
        pieces::hear(ours);
        state.iter().for_each(State::publish);
        pieces::tell(ours);
        pieces::hear(ours);
        // Until nobody has the other end: the program runs.
        pieces::hear(ours);
    } else {
        state.iter().for_each(State::publish);
    }
    let status = wait(child);
    for path in &cgroups.paths {
        cgroups::remove(path);
    }
    state.iter().for_each(|state| state.remove(&directory));
    status
}

/// What another program has to be told to go on.
fn stage_arguments(
    pieces: Pieces,
    connection: Option<([usize; 2], usize)>,
    pure: bool,
    rootfs: &CStr,
    cgroups: &[CString],
    program: &[CString],
) -> Vec<CString> {
    let (channel, plan) = connection.map_or((0, 0), |([_, theirs], plan)| (theirs, plan));
    let numbers = [pieces.bits(), channel, plan, usize::from(pure)].map(|number| number.to_string());
    let count = cgroups.len().to_string();
    let words = [STAGE, "boot"].into_iter().chain(numbers.iter().map(String::as_str));
    let words = words.map(|word| CString::new(word).unwrap_or_default());
    let count = CString::new(count).unwrap_or_default();
    words.chain([rootfs.to_owned(), count]).chain(cgroups.iter().cloned()).chain(program.iter().cloned()).collect()
}

/// In another program: what was handed over is taken, and then the container is made.
pub fn stage(pieces: Pieces, channel: usize, plan: usize, pure: usize, words: &[CString]) -> libc::c_int {
    must(call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0]));
    if channel != 0 {
        pieces::keep(channel, false);
        pieces::keep(plan, false);
        pieces::read_plan(plan);
    }
    let [rootfs, count, rest @ ..] = words else { return 64 };
    let count: usize = count.to_str().ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let (cgroups, program) = rest.split_at(count.min(rest.len()));
    become_container(pieces, channel, pure == 1, rootfs, cgroups, program)
}

/// Everything between the clone and the program.
fn become_container(
    pieces: Pieces,
    channel: usize,
    pure: bool,
    rootfs: &CStr,
    cgroups: &[CString],
    program: &[CString],
) -> ! {
    if pieces.has("keyring") {
        pieces::join_keyring();
    }
    // What sysfs shows depends on it.
    let join_network = || match pieces.has("network") {
        true => pieces::take_network(channel),
        false => inside::raise_loopback(),
    };
    match pieces.has("handles") {
        true => handles::mount_all(rootfs, cgroups, pure, &join_network),
        false => inside::mount_all(rootfs, cgroups, pure, &join_network),
    }
    inside::pivot();
    if channel != 0 {
        pieces::tell(channel);
    }
    must(call(libc::SYS_sethostname, [at(c"runc"), 4]));
    if pieces.has("process") {
        pieces::set_up_process(&program[0]);
    }
    inside::drop_privileges();
    if channel != 0 {
        pieces::tell(channel);
        pieces::answer(channel);
    }
    execute(&program[0], program)
}
