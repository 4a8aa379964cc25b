//! `unified`: files of version 2 by their own names.

use oci_spec::runtime::LinuxResources;

use super::{Compiler, Version};

impl Compiler<'_> {
    pub(super) fn unified(&mut self, resources: &LinuxResources) {
        let Some(files) = resources.unified() else { return };
        let mut files: Vec<_> = files.iter().collect();
        files.sort();
        for (file, value) in files {
            let field = format!("unified.{file}");
            let Some((controller, _)) = file.split_once('.').filter(|_| is_file_name(file)) else {
                self.problem(&field, "must be CONTROLLER.NAME, the name of a file in the cgroup, without a slash");
                continue;
            };
            // cgroup.procs, cgroup.kill and their like are no resources.
            if controller == "cgroup" {
                self.problem(&field, "files of the cgroup core are no resources and can not be set here");
                continue;
            }
            match self.needed(controller, &field) {
                Some(Version::V2) if value.trim().is_empty() => self.problem(&field, "has no value"),
                Some(Version::V2) => {
                    // The kernel takes one line in one write.
                    for line in value.lines().filter(|line| !line.trim().is_empty()) {
                        self.set(file, line, &field);
                    }
                }
                Some(Version::V1) => {
                    let message = format!("the controller \"{controller}\" is in a cgroup version 1 hierarchy here");
                    self.problem(&field, message);
                }
                None => {}
            }
        }
    }
}

fn is_file_name(name: &str) -> bool {
    name.len() < 64
        && !name.ends_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !name.contains("..")
}
