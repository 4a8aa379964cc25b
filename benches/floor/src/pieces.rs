//! What a runtime does and the floor does not, piece by piece: kernel work only, with as little around it as possible. Added one
//! after the other (`--with A,B,…`) they say what each costs, in the place where pipkin-runtime does it.

use std::ffi::{CStr, CString};

use libc::{AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_TRUNC, O_WRONLY};

use crate::kernel::{at, call, close, mkdir, must, open, write};

/// By name, in the order in which they are bits.
const NAMES: [&str; 9] = ["stage", "channel", "network", "state", "look", "handles", "keyring", "devices", "process"];

/// Which of them.
#[derive(Clone, Copy)]
pub struct Pieces(usize);

impl Pieces {
    /// From a list of names.
    pub fn named(list: &str) -> Self {
        let bit = |name: &str| {
            let found = NAMES.iter().position(|known| *known == name);
            1 << found.unwrap_or_else(|| panic!("--with {name}: there are {}", NAMES.join(", ")))
        };
        Self(list.split(',').map(bit).sum())
    }

    /// None, and what a number of another process says.
    pub fn from_bits(bits: usize) -> Self {
        Self(bits)
    }

    /// For another process.
    pub fn bits(self) -> usize {
        self.0
    }

    /// Whether that one is among them.
    pub fn has(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|bit| self.0 >> bit & 1 == 1)
    }
}

/// A handle on this very program that can not be written through, and its read-only mount, which nobody can change once that is
/// closed everywhere. The last close waits for a grace period of RCU: it comes when the stage is at work.
pub fn unwritable_self() -> [usize; 2] {
    let mount = must(call(libc::SYS_open_tree, [AT_FDCWD as usize, at(c"/proc/self/exe"), 1 | O_CLOEXEC as usize]));
    let readonly: [u64; 4] = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
    let arguments = [mount, at(c""), AT_EMPTY_PATH as usize, readonly.as_ptr() as usize, 32];
    must(call(libc::SYS_mount_setattr, arguments));
    let path = CString::new(format!("/proc/self/fd/{mount}")).unwrap_or_default();
    [open(&path, O_PATH), mount]
}

/// The launcher's and the stage's end of a connection.
pub fn connection() -> [usize; 2] {
    let mut ends = [0_i32; 2];
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as usize;
    must(call(libc::SYS_socketpair, [libc::AF_UNIX as usize, kind, 0, ends.as_mut_ptr() as usize]));
    ends.map(|end| end as usize)
}

/// Makes a network namespace with `lo` up beside the stage, comes back, and hands it over.
pub fn hand_over_network(connection: usize) {
    let own = open(c"/proc/self/ns/net", O_RDONLY);
    must(call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize]));
    crate::inside::raise_loopback();
    let made = open(c"/proc/self/ns/net", O_RDONLY);
    must(call(libc::SYS_setns, [own, libc::CLONE_NEWNET as usize]));
    message(made as u64, |header| must(call(libc::SYS_sendmsg, [connection, header, 0])));
    close(made);
    close(own);
}

/// Takes it, and joins it.
pub fn take_network(connection: usize) {
    let network =
        message(0, |header| must(call(libc::SYS_recvmsg, [connection, header, libc::MSG_CMSG_CLOEXEC as usize])));
    must(call(libc::SYS_setns, [network, libc::CLONE_NEWNET as usize]));
    close(network);
}

/// A byte with a descriptor, to be sent or received; gives the descriptor (unix(7), cmsg(3)).
fn message(descriptor: u64, call: impl FnOnce(usize) -> usize) -> usize {
    let byte = [0_u8; 1];
    let text = [byte.as_ptr() as usize, 1];
    // struct cmsghdr: length, level and type, then the descriptor.
    let mut control = [20, libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32, descriptor];
    // struct msghdr: no address, one piece of text, the control message, flags.
    let header = [0, 0, text.as_ptr() as usize, 1, control.as_mut_ptr() as usize, 24, 0];
    call(header.as_ptr() as usize);
    // The kernel has written there.
    std::hint::black_box(&mut control)[2] as usize & 0xffff_ffff
}

/// A kilobyte in memory: what the stage is to do.
pub fn write_plan() -> usize {
    let file = must(call(libc::SYS_memfd_create, [at(c"floor-plan"), 1]));
    write(file, &[b' '; 1000]);
    file
}

/// Reads it again.
pub fn read_plan(file: usize) {
    let mut text = [0_u8; 1000];
    must(call(libc::SYS_lseek, [file, 0, libc::SEEK_END as usize]));
    must(call(libc::SYS_pread64, [file, text.as_mut_ptr() as usize, text.len(), 0]));
    close(file);
}

/// Lets a descriptor live through an exec, or not.
pub fn keep(descriptor: usize, kept: bool) {
    must(call(libc::SYS_fcntl, [descriptor, libc::F_SETFD as usize, usize::from(!kept)]));
}

/// One byte; whoever has it waits for the next.
pub fn tell(connection: usize) {
    write(connection, b"1");
}

/// Waits for a byte, as the launcher does; 0 when the other end is gone.
pub fn hear(connection: usize) -> usize {
    let mut polled = [libc::pollfd { fd: connection as i32, events: libc::POLLIN, revents: 0 }];
    must(call(libc::SYS_ppoll, [polled.as_mut_ptr() as usize, 1, 0, 0, 8]));
    answer(connection)
}

/// Waits for a byte, as the stage does.
pub fn answer(connection: usize) -> usize {
    let mut byte = [0_u8; 16];
    must(call(libc::SYS_read, [connection, byte.as_mut_ptr() as usize, byte.len()]))
}

/// Closes everything but the standard streams, at the next exec.
pub fn close_the_rest() {
    must(call(libc::SYS_close_range, [3, u32::MAX as usize, libc::CLOSE_RANGE_CLOEXEC as usize]));
}

/// Whatever is in a file.
pub fn read_all(path: &CStr) {
    let file = call(libc::SYS_openat, [AT_FDCWD as usize, at(path), (O_RDONLY | O_CLOEXEC) as usize, 0]);
    if file >= 0 {
        read_and_close(file as usize);
    }
}

fn read_and_close(file: usize) {
    let mut text = [0_u8; 8192];
    while must(call(libc::SYS_read, [file, text.as_mut_ptr() as usize, text.len()])) > 0 {}
    close(file);
}

/// Where cgroups are, which user namespace this is, and what is asked for.
pub fn look_around(configuration: &CStr) {
    for path in [c"/proc/self/cgroup", c"/proc/self/mountinfo", c"/sys/fs/cgroup/cgroup.controllers"] {
        read_all(path);
    }
    is_there(c"/proc/self/ns/user");
    look_at_modules(configuration);
}

/// The configuration, and what the kernel and the caller can do of it.
pub fn look_at_modules(configuration: &CStr) {
    read_all(configuration);
    for path in [c"/sys/module/apparmor/parameters/enabled", c"/sys/fs/selinux"] {
        is_there(path);
    }
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0_u32; 6];
    must(call(libc::SYS_capget, [header.as_ptr() as usize, sets.as_mut_ptr() as usize]));
}

fn is_there(path: &CStr) {
    // SAFETY: a stat of zeros is one, and the kernel fills it in.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call(libc::SYS_newfstatat, [AT_FDCWD as usize, at(path), &raw mut stat as usize, 0]);
}

/// The container's directory, which is how other commands know of it.
pub struct State(usize);

const FILES: [&CStr; 3] = [c"init", c"config.json", c"state.json"];

impl State {
    /// Makes and locks it.
    pub fn make(path: &CStr) -> Self {
        mkdir(path, 0o700);
        let state = Self(open(path, O_DIRECTORY));
        must(call(libc::SYS_flock, [state.0, libc::LOCK_EX as usize]));
        state.put(c".state.json", &[b' '; 523]);
        state.rename(c".state.json", c"state.json");
        state
    }

    fn put(&self, name: &CStr, text: &[u8]) {
        let flags = (O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | libc::O_NOFOLLOW) as usize;
        let file = must(call(libc::SYS_openat, [self.0, at(name), flags, 0o600]));
        write(file, text);
        close(file);
    }

    fn rename(&self, from: &CStr, to: &CStr) {
        must(call(libc::SYS_renameat, [self.0, at(from), self.0, at(to)]));
    }

    /// While the stage works: the configuration, and who the first process is.
    pub fn keep(&self, child: usize) {
        self.put(c"config.json", &[b' '; 1900]);
        read_all(&CString::new(format!("/proc/{child}/stat")).unwrap_or_default());
        self.put(c".init", &[b' '; 34]);
    }

    /// From here on it is a container.
    pub fn publish(&self) {
        self.rename(c".init", c"init");
        must(call(libc::SYS_flock, [self.0, libc::LOCK_UN as usize]));
    }

    /// Looks who it was, and forgets it.
    pub fn remove(&self, path: &CStr) {
        must(call(libc::SYS_flock, [self.0, libc::LOCK_EX as usize]));
        read_and_close(must(call(libc::SYS_openat, [self.0, at(c"init"), (O_RDONLY | O_CLOEXEC) as usize, 0])));
        for name in FILES {
            must(call(libc::SYS_unlinkat, [self.0, at(name), 0]));
        }
        must(call(libc::SYS_rmdir, [at(path)]));
    }
}

/// The caller's signals are the launcher's to pass on.
pub fn take_signals() {
    let all = u64::MAX;
    must(call(libc::SYS_rt_sigprocmask, [libc::SIG_BLOCK as usize, &raw const all as usize, 0, 8]));
    must(call(libc::SYS_signalfd4, [usize::MAX, &raw const all as usize, 8, libc::O_CLOEXEC as usize]));
    must(call(libc::SYS_prctl, [libc::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0, 0]));
}

/// Ids, standard streams, processors, working directory; whether the program is there; and its signals as at the start.
pub fn set_up_process(program: &CStr) {
    for stream in 0..3 {
        must(call(libc::SYS_fcntl, [stream, libc::F_GETFD as usize]));
        // SAFETY: a stat of zeros is one, and the kernel fills it in.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        must(call(libc::SYS_fstat, [stream, &raw mut stat as usize]));
    }
    let processors = [u64::MAX; 16];
    must(call(libc::SYS_sched_setaffinity, [0, 128, processors.as_ptr() as usize]));
    must(call(libc::SYS_chdir, [at(c"/")]));
    must(call(libc::SYS_prctl, [libc::PR_SET_KEEPCAPS as usize, 1, 0, 0, 0]));
    must(call(libc::SYS_setgroups, [0, 0]));
    must(call(libc::SYS_setresgid, [0, 0, 0]));
    must(call(libc::SYS_setresuid, [0, 0, 0]));
    let mut text = [0_u8; 256];
    must(call(libc::SYS_getcwd, [text.as_mut_ptr() as usize, text.len()]));
    is_there(program);
    must(call(libc::SYS_faccessat, [AT_FDCWD as usize, at(program), libc::X_OK as usize]));
    read_all(c"/etc/passwd");
    for signal in 1..=64 {
        let default = [0_u64; 4];
        call(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8]);
    }
    let none = 0_u64;
    must(call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const none as usize, 0, 8]));
}

/// A session keyring that the container does not share with the caller.
pub fn join_keyring() {
    must(call(libc::SYS_keyctl, [1, at(c"_ses.floor")]));
}
