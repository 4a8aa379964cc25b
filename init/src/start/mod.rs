//! From the kernel's entry into the program to its `main`: all that depends on the machine is in one file per
//! architecture.

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod machine;

mod text;
mod words;

pub(crate) use crate::syscall;
pub use machine::{ELF_MACHINE, vfork};
pub use text::Text;
pub use words::{CommandLine, Words};

/// Names the `fn(CommandLine, Words) -> u8` (command line, environment, exit code) with which a program of this package begins.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn pipkin_main(
            words: $crate::start::CommandLine<'static>,
            environment: $crate::start::Words<'static>,
        ) -> u8 {
            $main(words, environment)
        }
    };
}

/// What `_start` calls with the stack pointer it found: there lie argc, argv, envp (System V ABI, "Process
/// Initialization").
#[cfg(not(test))]
unsafe extern "C" fn entry(stack: *mut usize) -> ! {
    unsafe extern "Rust" {
        fn pipkin_main(words: CommandLine<'static>, environment: Words<'static>) -> u8;
    }
    // SAFETY: the kernel put argc at the stack pointer and the two arrays, each ended by a null pointer, behind it.
    // `pipkin_main` is what `entry!` made of a safe function with this signature.
    let code = unsafe {
        let argc = *stack;
        if argc == 0 {
            crate::kernel::exit(125); // Linux sees to it that there is a word since 5.18
        }
        let argv = stack.add(1).cast();
        let envp = stack.add(argc + 2).cast();
        pipkin_main(CommandLine::new(argv), Words::new(envp))
    };
    crate::kernel::exit(code)
}

/// A panic is a defect of ours, and there is nobody to unwind to. Status 125, as for every failure of the init itself.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    crate::kernel::exit(125)
}

/// The precompiled core library names this in its unwind tables, which nothing here uses.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
