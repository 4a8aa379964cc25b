use std::process::Command;

use clap::{Args, ValueEnum};

use super::print;
use crate::container::Runtime;
use crate::error::{Context, Error, Kind, Result};

/// Show the processes of a container.
#[derive(Args, Debug)]
pub(super) struct Ps {
    /// How to print them.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// For ps(1); without any, -ef.
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Ps {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let pids = runtime.processes(&self.id)?;
        if matches!(self.format, Format::Json) {
            let text = serde_json::to_string(&pids).map_err(std::io::Error::from).step(|| "encode the list")?;
            print(&format!("{text}\n"));
            return Ok(());
        }
        let options = if self.options.is_empty() { vec!["-ef".to_owned()] } else { self.options };
        let output = Command::new("ps").args(&options).output().step(|| format!("run ps {}", options.join(" ")))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let message = message.lines().next().unwrap_or("no message");
            return Err(Error::new(Kind::Invalid, format!("ps {}: {message}", options.join(" "))));
        }
        print(&select(&String::from_utf8_lossy(&output.stdout), &pids)?);
        Ok(())
    }
}

/// The head line, and those whose PID column names one of the container's processes.
fn select(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_ascii_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::invalid("ps options", "the output of ps must have a column PID"))?;
    let ours = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|field| field.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines() {
        let table = "UID  PID CMD\nroot   1 init 7\nroot   7 sleep 1\n";
        assert_eq!(select(table, &[7]).unwrap(), "UID  PID CMD\nroot   7 sleep 1\n");
        assert!(select("UID CMD\n", &[7]).is_err());
    }
}
