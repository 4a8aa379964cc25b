use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::print;
use crate::container::Runtime;
use crate::error::{Context, Result};

/// Show what `create` would do, in order, without doing it.
///
/// Needs no privileges. Every problem of the configuration is listed, not just the first; then the status is 1.
#[derive(Args, Debug)]
pub(super) struct Plan {
    /// The directory with config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// The name that the container would have.
    #[arg(value_name = "CONTAINER", default_value = "container")]
    id: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Plan {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<u8> {
        let (plan, problems) = runtime.plan(&self.id, &self.bundle)?;
        match self.format {
            Format::Text => {
                if let Some(plan) = &plan {
                    print(&plan.to_string());
                }
                for problem in problems.iter() {
                    print(&format!("problem: {}: {}\n", problem.field, problem.message));
                }
            }
            Format::Json => {
                let both = serde_json::json!({"plan": plan, "problems": problems});
                let text =
                    serde_json::to_string_pretty(&both).map_err(std::io::Error::from).step(|| "encode the plan")?;
                print(&format!("{text}\n"));
            }
        }
        Ok(u8::from(!problems.is_empty()))
    }
}
