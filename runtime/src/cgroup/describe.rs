//! A cgroup's plan as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::plan::Plan;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            writeln!(f, "  make the cgroup {}", group.seat.directory.display())?;
            for setting in &group.settings {
                writeln!(f, "    write {} to {}", setting.value, setting.file)?;
            }
        }
        match &self.devices {
            Some(rules) if rules.allow_everything() => Ok(()),
            Some(rules) => {
                let rest = if rules.allow_others { "allowed" } else { "denied" };
                writeln!(f, "  restrict devices by {} rules, all others are {rest}", rules.rules.len())
            }
            None => Ok(()),
        }
    }
}
