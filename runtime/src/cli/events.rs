use clap::Args;
use rustix::event::Timespec;
use serde_json::{Value, json};

use super::{duration, print};
use crate::container::{Event, Runtime};
use crate::error::{Context, Result};

/// Print what a container uses, and when the kernel kills for want of memory, as JSON.
#[derive(Args, Debug)]
pub(super) struct Events {
    /// How often the figures are printed, such as 500ms, 5s or 2m.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    interval: Timespec,
    /// Print the figures once.
    #[arg(long)]
    stats: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Events {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        if self.stats {
            return self.print(Event::Stats(Box::new(runtime.stats(&self.id)?)));
        }
        runtime.watch(&self.id, self.interval, |event| self.print(event))
    }

    /// runc's form: type, id, data.
    fn print(&self, event: Event) -> Result<()> {
        let (kind, data) = match event {
            Event::Stats(stats) => {
                ("stats", serde_json::to_value(stats).map_err(std::io::Error::from).step(|| "encode the figures")?)
            }
            Event::Oom => ("oom", Value::Null),
        };
        let mut object = json!({"type": kind, "id": self.id});
        if !data.is_null() {
            object["data"] = data;
        }
        print(&format!("{object}\n"));
        Ok(())
    }
}
