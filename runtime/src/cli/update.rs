use std::io::Read;
use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::config;
use crate::container::Runtime;
use crate::error::{Context, Error, Result};

/// No honest document is larger.
const LARGEST: u64 = 1024 * 1024;

/// Change the limits of a container.
///
/// What is not named stays. Sizes are in bytes or with a unit: 64m, 1g; -1 is no limit.
#[derive(Args, Debug)]
pub(super) struct Update {
    /// Take the limits from a file with the spec's linux.resources object, or from standard input with "-".
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["memory", "memory_reservation", "memory_swap",
        "cpu_period", "cpu_quota", "cpu_burst", "cpu_share", "cpu_rt_period", "cpu_rt_runtime", "cpu_idle", "cpuset_cpus",
        "cpuset_mems", "pids_limit", "blkio_weight"])]
    resources: Option<String>,
    /// Memory.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory: Option<i64>,
    /// Memory below which nothing is taken away.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_reservation: Option<i64>,
    /// Memory and swap together.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size)]
    memory_swap: Option<i64>,
    /// Length of the quota's period in microseconds.
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Processor time in each period in microseconds.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Processor time that may be saved up in microseconds.
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<u64>,
    /// Weight against other containers (2 to 262144).
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Length of the real-time period in microseconds.
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period in microseconds.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// 1: runs only when nobody else wants to.
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    cpu_idle: Option<i64>,
    /// Processors, such as 0-2,4.
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, such as 0-1.
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Processes and threads.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Weight on block devices (10 to 1000).
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Shares of the level 3 cache, such as L3:0=f;1=f0, where linux.intelRdt has given the container a group.
    #[arg(long, value_name = "SHARES", value_parser = |text: &str| shares("L3", text))]
    l3_cache_schema: Option<String>,
    /// Shares of memory bandwidth, such as MB:0=50;1=20.
    #[arg(long, value_name = "SHARES", value_parser = |text: &str| shares("MB", text))]
    mem_bw_schema: Option<String>,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// One line that begins with the resource; the kernel checks the rest.
fn shares(resource: &str, text: &str) -> std::result::Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if name.starts_with(resource) && !text.contains('\n') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not one line of shares that begins with {resource}")),
    }
}

impl Update {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let resources = match &self.resources {
            Some(file) => config::resources_of_text(Path::new(file), &read(file)?)?,
            None => config::resources_of_text(Path::new("limits"), self.document().to_string().as_bytes())?,
        };
        let schemata: Vec<String> = [self.l3_cache_schema, self.mem_bw_schema].into_iter().flatten().collect();
        if !schemata.is_empty() {
            runtime.update_shares(&self.id, &schemata)?;
        }
        runtime.update(&self.id, &resources)
    }

    fn document(&self) -> Value {
        let memory = object(&[
            ("limit", json!(self.memory)),
            ("reservation", json!(self.memory_reservation)),
            ("swap", json!(self.memory_swap)),
        ]);
        let cpu = object(&[
            ("period", json!(self.cpu_period)),
            ("quota", json!(self.cpu_quota)),
            ("burst", json!(self.cpu_burst)),
            ("shares", json!(self.cpu_share)),
            ("realtimePeriod", json!(self.cpu_rt_period)),
            ("realtimeRuntime", json!(self.cpu_rt_runtime)),
            ("idle", json!(self.cpu_idle)),
            ("cpus", json!(self.cpuset_cpus)),
            ("mems", json!(self.cpuset_mems)),
        ]);
        let pids = object(&[("limit", json!(self.pids_limit))]);
        let block_io = object(&[("weight", json!(self.blkio_weight))]);
        object(&[("memory", memory), ("cpu", cpu), ("pids", pids), ("blockIO", block_io)])
    }
}

/// Without what is null or empty.
fn object(entries: &[(&str, Value)]) -> Value {
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    let kept = entries.iter().filter(|(_, value)| !empty(value));
    Value::Object(kept.map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn read(file: &str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = if file == "-" {
        std::io::stdin().take(LARGEST + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text))
    };
    read.on("read", file)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::invalid("--resources", format!("{file} is larger than {LARGEST} bytes")));
    }
    Ok(text)
}

/// Bytes, or with one of the units b, k, m, g, t (powers of 1024).
fn size(text: &str) -> std::result::Result<i64, String> {
    let error = || format!("{text:?} is not a size such as 67108864, 64m or -1");
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, factor) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 1 << 10),
        Some('m') => (&number[..number.len() - 1], 1 << 20),
        Some('g') => (&number[..number.len() - 1], 1 << 30),
        Some('t') => (&number[..number.len() - 1], 1_i64 << 40),
        _ => (number, 1),
    };
    digits.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("1", 1), ("64m", 64 << 20), ("1GiB", 1 << 30), ("2kb", 2048), ("-1", -1)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "1x", "9999999999t", "1.5g"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
