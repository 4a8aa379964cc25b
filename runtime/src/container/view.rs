//! A container as `state` and `list` print it.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::state::{Directory, Document, Record, Status};

/// The spec's state document and what runc prints beside it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The spec's part.
    #[serde(flatten)]
    pub document: Document,
    /// The root file system on the host.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// The name of the user who made it, or its number.
    pub owner: String,
}

impl View {
    pub(super) fn of(directory: &Directory, record: Record) -> Result<Self> {
        let status = directory.status(&record)?;
        let pid = match status {
            Status::Stopped | Status::Creating => None,
            _ => directory.init()?.map(|init| init.pid),
        };
        Ok(Self {
            document: record.document.at(status, pid),
            rootfs: record.rootfs,
            created: record.created,
            owner: user_name(record.owner),
        })
    }
}

/// passwd(5), read directly: a static program must not load NSS modules.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}
