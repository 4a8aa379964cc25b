//! The files that every container has of its own: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::fs::{self, File};
use std::io::Read;

use super::Bundle;
use crate::failure::{Failure, Result};

/// In the container's directory, and where they are mounted.
pub const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];
/// The most that is copied of the machine's own files: 1 MiB.
const LIMIT: u64 = 1 << 20;

/// Writes them: the machine's names and resolvers, because the network is the machine's, and the container's own name.
///
/// # Errors
/// A file can not be written, or the host name is not one.
pub fn write(bundle: &Bundle) -> Result<()> {
    let hostname = bundle.hostname();
    let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    if hostname.is_empty() || hostname.len() > 64 || !hostname.bytes().all(valid) {
        return Err(Failure::argument(format!("--hostname {hostname:?}"), "must be 1 to 64 letters, digits, - and ."));
    }
    let mut hosts = copy("/etc/hosts");
    if hosts.is_empty() {
        hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_string();
    } else if !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    hosts.push_str(&format!("127.0.1.1\t{hostname}\n"));
    let contents = [hosts, format!("{hostname}\n"), copy("/etc/resolv.conf")];
    for ((name, _), content) in FILES.iter().zip(contents) {
        let path = bundle.container.directory.join(name);
        fs::write(&path, content).map_err(|cause| Failure::argument(format!("write {}", path.display()), cause))?;
        // Every user in the container may read them, whatever our umask is.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode)
            .map_err(|cause| Failure::argument(format!("chmod {}", path.display()), cause))?;
    }
    Ok(())
}

/// A file of the machine; empty when it can not be read.
fn copy(path: &str) -> String {
    let mut data = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut data));
    read.map(|_| String::from_utf8_lossy(&data).into_owned()).unwrap_or_default()
}
