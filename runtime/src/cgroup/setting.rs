//! One value for one file of a controller.

use serde::{Deserialize, Serialize};

/// What it means when the kernel has no file of that name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Absent {
    /// The limit can not be set: an error.
    Refuse,
    /// The kernel has nothing to limit there (no swap accounting, no separate reservations): fine.
    Accept,
    /// An older or newer name and its form of the same value.
    Try {
        /// The other file.
        file: String,
        /// The value in that file's unit.
        value: String,
    },
}

/// One value for one file of a controller, and the field of config.json that asks for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Setting {
    /// The controller, `memory`.
    pub controller: String,
    /// The file in the cgroup's directory, `memory.max`.
    pub file: String,
    /// What to write.
    pub value: String,
    /// The field's path, `linux.resources.memory.limit`.
    pub field: String,
    /// What to do where the file does not exist.
    pub absent: Absent,
}

impl Setting {
    /// `file` starts with its controller's name and a dot.
    pub fn new(file: impl Into<String>, value: impl ToString, field: impl Into<String>) -> Setting {
        let file = file.into();
        let controller = file.split('.').next().unwrap_or_default().to_owned();
        Setting { controller, file, value: value.to_string(), field: field.into(), absent: Absent::Refuse }
    }

    /// The same, fine without the file.
    pub fn or_nothing(mut self) -> Setting {
        self.absent = Absent::Accept;
        self
    }

    /// The same, with another name for the file.
    pub fn or(mut self, file: impl Into<String>, value: impl ToString) -> Setting {
        self.absent = Absent::Try { file: file.into(), value: value.to_string() };
        self
    }
}
