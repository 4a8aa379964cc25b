//! The start of the program without asking the processor who it is.
//!
//! A static glibc executes CPUID some seventy times before `main`, to pick the fastest string functions and to learn the
//! sizes of the caches. In a virtual machine each CPUID is an exit to the hypervisor: 7 us here, half a millisecond in all,
//! which is more than everything else that this program does before its first useful system call, and it is paid twice
//! at every boot, by the launcher and by the stage. So this is `__libc_start_main` without that part: the string functions
//! are those that every x86-64 has, the cache sizes are glibc's own defaults.
//!
//! It also leaves out what a static program keeps ready for loading libraries at run time, which this one never does: reading
//! /proc/self/exe, looking five functions of the vDSO up, search paths from the environment. That is 8,000 instructions and
//! some page faults.
//!
//! Only for the very version of glibc that it was written against (build.rs decides): elsewhere the C library starts itself.
//! As a side effect GLIBC_TUNABLES is not read (CVE-2023-4911).

use std::ffi::{c_char, c_int, c_long, c_void};

/// What memcpy and its like are tuned by (glibc 2.36, sysdeps/x86/cacheinfo.h): the defaults, in bytes.
macro_rules! cache_sizes {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(
            // Beside what is touched anyway, not among the constants: it is one page fault less.
            #[unsafe(link_section = ".data")]
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "the C library's name")]
            static $name: $type = $value;
        )*
    };
}

cache_sizes! {
    __x86_data_cache_size: c_long = 32 << 10;
    __x86_data_cache_size_half: c_long = 16 << 10;
    __x86_shared_cache_size: c_long = 1 << 20;
    __x86_shared_cache_size_half: c_long = 512 << 10;
    __x86_shared_non_temporal_threshold: c_long = 768 << 10;
    __x86_rep_movsb_threshold: c_long = 2048;
    __x86_rep_movsb_stop_threshold: c_long = 768 << 10;
    __x86_rep_stosb_threshold: c_long = 2048;
    __x86_string_control: c_int = 0;
}

type Resolver = extern "C" fn() -> usize;
type Initializer = extern "C" fn(c_int, *const *const c_char, *const *const c_char);
type Main = extern "C" fn(c_int, *const *const c_char, *const *const c_char) -> c_int;

/// Elf64_Rela (elf(5))
#[repr(C)]
struct Relocation {
    place: *mut usize,
    kind: u64,
    resolver: Resolver,
}

unsafe extern "C" {
    static mut __environ: *const *const c_char;
    static mut __libc_stack_end: *const c_void;
    static _dl_random: *const usize;
    static __libc_enable_secure: c_int;
    static mut __libc_argc: c_int;
    static mut __libc_argv: *const *const c_char;
    static mut _dl_stack_flags: u32;
    static _dl_phdr: *const Segment;
    static _dl_phnum: usize;
    // The linker's: tables between two symbols.
    static __rela_iplt_start: [Relocation; 0];
    static __rela_iplt_end: [Relocation; 0];
    static __preinit_array_start: [Initializer; 0];
    static __preinit_array_end: [Initializer; 0];
    static __init_array_start: [Initializer; 0];
    static __init_array_end: [Initializer; 0];

    fn _dl_aux_init(auxiliary: *const c_void);
    fn __libc_setup_tls();
    fn __libc_early_init(initial: bool);
    fn __libc_init_first(argc: c_int, argv: *const *const c_char, environment: *const *const c_char);
    fn __init_misc(argc: c_int, argv: *const *const c_char, environment: *const *const c_char);
    fn __libc_check_standard_fds();
    fn _init();
    fn mprotect(start: usize, length: usize, protection: c_int) -> c_int;
    fn exit(status: c_int) -> !;
}

/// Elf64_Phdr (elf(5))
#[repr(C)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    physical: usize,
    length_in_file: usize,
    length: usize,
    alignment: usize,
}

/// `struct dl_find_object` (dlfcn.h, glibc manual, "Dynamic Linker Introspection")
#[repr(C)]
struct FoundObject {
    flags: u64,
    start: usize,
    end: usize,
    link_map: usize,
    unwind_table: usize,
    reserved: [u64; 7],
}

/// `struct dl_phdr_info` (dl_iterate_phdr(3)) without its last two fields, which are about thread-local storage; the size says so.
#[repr(C)]
struct LoadedObject {
    base: usize,
    name: *const c_char,
    segments: *const Segment,
    count: u16,
    added: u64,
    removed: u64,
}

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PROT_READ: c_int = 1;

/// In bytes; the only one of x86-64.
const PAGE: usize = 4096;

/// Called by the C library's `_start` with what the kernel put on the stack.
///
/// # Safety
/// Only for `_start`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *const *const c_char,
    _init_unused: *const c_void,
    _fini_unused: *const c_void,
    _rtld_fini: *const c_void,
    stack_end: *const c_void,
) -> c_int {
    // SAFETY: this runs once, before everything else, with the pointers that the kernel made: after argv and its null
    // comes the environment, after that and its null the auxiliary vector (execve(2), getauxval(3)). The order of the steps
    // is that of glibc 2.36. Until the relocations are done no function of the C library may be called that has variants, and
    // until the TLS is set up none that sets errno; the loops here are too simple for the compiler to call any.
    unsafe {
        let environment = argv.add(argc as usize + 1);
        __environ = environment;
        __libc_stack_end = stack_end;
        let mut end = environment;
        while !(*end).is_null() {
            end = end.add(1);
        }
        _dl_aux_init(end.add(1).cast());
        relocate();
        __libc_setup_tls();
        set_guards();
        __libc_early_init(true);
        if __libc_enable_secure != 0 {
            // It takes what is dangerous out of the environment.
            __libc_init_first(argc, argv, environment);
            __libc_check_standard_fds();
        } else {
            __libc_argc = argc;
            __libc_argv = argv;
            protect();
            __init_misc(argc, argv, environment);
        }
        run(&raw const __preinit_array_start, &raw const __preinit_array_end, argc, argv, environment);
        _init();
        run(&raw const __init_array_start, &raw const __init_array_end, argc, argv, environment);
        exit(main(argc, argv, environment))
    }
}

/// Fills the slots of functions that have variants (`R_X86_64_IRELATIVE`); with nothing known of the processor each resolver
/// takes the variant that runs everywhere.
///
/// # Safety
/// Once, before any such function is called.
#[inline(always)]
unsafe fn relocate() {
    // SAFETY: the linker made the table, all of its entries are of this kind in a static, position-dependent program.
    unsafe {
        let mut entry = (&raw const __rela_iplt_start).cast::<Relocation>();
        while entry < (&raw const __rela_iplt_end).cast() {
            *(*entry).place = ((*entry).resolver)();
            entry = entry.add(1);
        }
    }
}

/// The stack protector's canary and the guard of stored pointers, from the kernel's random bytes (`AT_RANDOM`); the canary
/// has a zero byte, which no string writes past.
///
/// # Safety
/// After the TLS is set up: they are in the thread's header.
#[inline(always)]
unsafe fn set_guards() {
    // SAFETY: _dl_random points to 16 bytes; the offsets are those of tcbhead_t, which the compilers know, too.
    unsafe {
        let canary = _dl_random.read_unaligned() & !0xff;
        let guard = _dl_random.add(1).read_unaligned();
        std::arch::asm!("mov fs:[0x28], {}", in(reg) canary, options(nostack, preserves_flags));
        std::arch::asm!("mov fs:[0x30], {}", in(reg) guard, options(nostack, preserves_flags));
    }
}

/// Makes what is constant after the relocations unwritable (`PT_GNU_RELRO`), and threads' stacks no more executable than the
/// program's (`PT_GNU_STACK`). Ends the program where the kernel refuses, as the C library does.
///
/// # Safety
/// Once, after the relocations.
#[inline(always)]
unsafe fn protect() {
    // SAFETY: the kernel said where the program's headers are and how many; the region begins with a page and whatever lies in
    // its last, incomplete one stays as it is.
    unsafe {
        for segment in std::slice::from_raw_parts(_dl_phdr, _dl_phnum) {
            match segment.kind {
                PT_GNU_STACK => _dl_stack_flags = segment.flags,
                PT_GNU_RELRO => {
                    let start = segment.address & !(PAGE - 1);
                    let end = (segment.address + segment.length) & !(PAGE - 1);
                    if mprotect(start, end - start, PROT_READ) != 0 {
                        exit(127);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Where the unwinder finds its table, for the backtrace of a panic: the C library's own answer is among what the start leaves
/// out. There is one object, the program. The linker puts this in the place of `_dl_find_object` (`--wrap`, build.rs).
///
/// # Safety
/// Only for the unwinder.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap__dl_find_object(address: usize, found: *mut FoundObject) -> c_int {
    // SAFETY: the kernel said where the program's headers are and how many; the caller has room for the result.
    unsafe {
        let segments = std::slice::from_raw_parts(_dl_phdr, _dl_phnum);
        let loaded = || segments.iter().filter(|segment| segment.kind == PT_LOAD);
        let start = loaded().map(|segment| segment.address).min().unwrap_or(0);
        let end = loaded().map(|segment| segment.address + segment.length).max().unwrap_or(0);
        match segments.iter().find(|segment| segment.kind == PT_GNU_EH_FRAME) {
            Some(table) if (start..end).contains(&address) => {
                let unwind_table = table.address;
                found.write(FoundObject { flags: 0, start, end, link_map: 0, unwind_table, reserved: [0; 7] });
                0
            }
            _ => -1,
        }
    }
}

/// The same for whoever looks for the symbols, in the place of dl_iterate_phdr(3).
///
/// # Safety
/// As for dl_iterate_phdr(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_dl_iterate_phdr(
    callback: extern "C" fn(*mut LoadedObject, usize, *mut c_void) -> c_int,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the kernel said where the program's headers are and how many.
    let (segments, count) = unsafe { (_dl_phdr, _dl_phnum as u16) };
    let mut program = LoadedObject { base: 0, name: c"".as_ptr(), segments, count, added: 1, removed: 0 };
    callback(&raw mut program, size_of::<LoadedObject>(), data)
}

/// What the compiler's start files call to make the unwind table known, which [`__wrap__dl_find_object`] does. Their other half,
/// `__deregister_frame_info`, would run with .fini_array, which this start leaves alone.
#[unsafe(no_mangle)]
extern "C" fn __wrap___register_frame_info(_table: *const c_void, _object: *const c_void) {}

/// # Safety
/// With a table of the linker.
#[inline(always)]
unsafe fn run(
    start: *const [Initializer; 0],
    end: *const [Initializer; 0],
    argc: c_int,
    argv: *const *const c_char,
    environment: *const *const c_char,
) {
    // SAFETY: the caller vouches for the table.
    unsafe {
        let mut entry = start.cast::<Initializer>();
        while entry < end.cast() {
            (*entry)(argc, argv, environment);
            entry = entry.add(1);
        }
    }
}
