//! `/proc/PID/attr`: where a process asks for the label of what it executes next (proc_pid_attr(5)).

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Labels;
use crate::error::{Context, Error, Kind, Result};

/// In bytes; a page is the most that the kernel takes or gives.
const LONGEST: usize = 4096;

/// From this process's next exec on it runs under these labels. `procfs` is one that nobody can have prepared: a write to
/// another file would leave the program without its walls (CVE-2019-16884, CVE-2025-52881).
pub(crate) fn set_exec_labels(labels: &Labels, procfs: BorrowedFd<'_>) -> Result<()> {
    if let Some(profile) = &labels.apparmor {
        set_profile(profile, procfs)
            .map_err(|error| error.during(format!("process.apparmorProfile: apply the profile {profile:?}")))?;
    }
    if let Some(label) = &labels.selinux {
        set_context(label, "exec", procfs)
            .map_err(|error| error.during(format!("process.selinuxLabel: apply the label {label:?}")))?;
    }
    Ok(())
}

/// Keyrings that are made from here on have this SELinux label, so that the program, under it, may use its session's.
pub(crate) fn set_key_label(label: &str, procfs: BorrowedFd<'_>) -> Result<()> {
    set_context(label, "keycreate", procfs)
        .map_err(|error| error.during(format!("process.selinuxLabel: label keyrings with {label:?}")))
}

/// Ends what [`set_key_label`] began.
pub(crate) fn clear_key_label(procfs: BorrowedFd<'_>) -> Result<()> {
    let attribute = Attribute::find("keycreate", procfs)?;
    attribute.write("\n").step(|| "process.selinuxLabel: label keyrings as usual again")
}

fn set_profile(profile: &str, procfs: BorrowedFd<'_>) -> Result<()> {
    // Where several modules have attributes, the plain files are those of one of them; the directory came with Linux 5.8.
    let attribute = match Attribute::find("apparmor/exec", procfs) {
        Err(error) if error.errno() == Some(libc::ENOENT) => Attribute::find("exec", procfs)?,
        other => other?,
    };
    attribute.write(&format!("exec {profile}")).map_err(|errno| {
        let error = attribute.error("write", errno);
        match errno {
            Errno::NOENT => {
                error.remedy("no such profile is loaded; see aa-status(8), load it with apparmor_parser(8)")
            }
            Errno::PERM | Errno::ACCESS => error
                .remedy("the profile that pipkin-runtime itself runs under does not allow the change (change_profile)"),
            _ => error,
        }
    })?;
    let read = attribute.read()?;
    if is_profile(&read, profile) {
        return Ok(());
    }
    Err(attribute.not_in_effect(&read))
}

/// The kernel shows `NAME (MODE)`. Names in another policy namespace, and several profiles at once, it may write in
/// another way than they were given.
fn is_profile(shown: &str, wanted: &str) -> bool {
    let name = match shown.rsplit_once(" (") {
        Some((name, mode)) if mode.ends_with(')') => name,
        _ => shown,
    };
    let other_spelling = wanted.starts_with(':') || wanted.contains("//&");
    !name.is_empty() && (name == wanted || other_spelling)
}

fn set_context(label: &str, name: &str, procfs: BorrowedFd<'_>) -> Result<()> {
    let attribute = Attribute::find(name, procfs)?;
    attribute.write(label).map_err(|errno| {
        let error = attribute.error("write", errno);
        match errno {
            Errno::INVAL => error.remedy("the loaded policy does not know it"),
            Errno::ACCESS | Errno::PERM => {
                error.remedy("the policy does not allow pipkin-runtime to ask for it (setexec)")
            }
            _ => error,
        }
    })?;
    let read = attribute.read()?;
    if read == label { Ok(()) } else { Err(attribute.not_in_effect(&read)) }
}

/// One of this process's own attributes.
struct Attribute<'a> {
    procfs: BorrowedFd<'a>,
    path: String,
}

impl<'a> Attribute<'a> {
    /// Found by this process's number in that procfs, which need not be of its own pid namespace.
    fn find(name: &str, procfs: BorrowedFd<'a>) -> Result<Self> {
        let step = || "find this process in a private procfs";
        let own = rustix::fs::readlinkat(procfs, "self", Vec::new()).step(step)?;
        let own = own.to_str().ok().filter(|own| !own.is_empty() && own.bytes().all(|byte| byte.is_ascii_digit()));
        let own = own.ok_or_else(|| Error::new(Kind::System, format!("{}: it is not there", step())))?;
        let attribute = Self { procfs, path: format!("{own}/attr/{name}") };
        attribute.open(OFlags::PATH).map_err(|errno| attribute.error("open", errno))?;
        Ok(attribute)
    }

    /// Nothing on the way may be a link or a mount.
    fn open(&self, flags: OFlags) -> std::result::Result<std::os::fd::OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(self.procfs, self.path.as_str(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// The kernel wants the whole label in one write.
    fn write(&self, text: &str) -> std::result::Result<(), Errno> {
        let file = self.open(OFlags::WRONLY)?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    }

    /// What is asked for now, as the kernel says it; empty when nothing is.
    fn read(&self) -> Result<String> {
        let mut buffer = [0; LONGEST];
        let length = match self.open(OFlags::RDONLY).and_then(|file| rustix::io::read(&file, &mut buffer)) {
            // AppArmor's way to say "nothing".
            Err(Errno::INVAL) => 0,
            other => other.map_err(|errno| self.error("read back", errno))?,
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        Ok(text.trim_end_matches(['\0', '\n']).to_owned())
    }

    fn error(&self, verb: &str, errno: Errno) -> Error {
        Error::system(format!("{verb} /proc/{}", self.path), errno)
    }

    fn not_in_effect(&self, read: &str) -> Error {
        Error::new(Kind::System, format!("it did not take effect: /proc/{} says {read:?}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_shows_is_the_profile_that_was_asked_for() {
        assert!(is_profile("docker-default (enforce)", "docker-default"));
        assert!(is_profile("unconfined", "unconfined"));
        assert!(is_profile("a (b) (complain)", "a (b)"));
        assert!(is_profile("ns://p (enforce)", ":ns:p"));
        assert!(!is_profile("", "docker-default"));
        assert!(!is_profile("", ":ns:p"));
        assert!(!is_profile("docker-default-other (enforce)", "docker-default"));
        assert!(!is_profile("other (enforce)", "docker-default"));
    }

    /// A directory that looks like a procfs is not what this process can be found in.
    #[test]
    fn a_place_without_this_process_is_an_error() {
        let directory = std::fs::File::open("/sys").unwrap();
        let labels = Labels { apparmor: Some("x".to_owned()), selinux: None };
        let text = set_exec_labels(&labels, std::os::fd::AsFd::as_fd(&directory)).unwrap_err().to_string();
        assert!(text.contains("process.apparmorProfile") && text.contains("private procfs"), "{text}");
    }
}
