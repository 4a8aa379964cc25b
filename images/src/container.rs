//! Containers as the store knows them: a directory with a record, the writable layer and the bundle.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::store::{Staging, Store};

/// What `container.json` says; written once.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What people call it; unique.
    pub name: String,
    /// The image's manifest.
    pub image: Descriptor,
    /// The image as the person named it.
    pub image_name: String,
    /// Chain ids of the image's layers from the bottom up.
    pub layers: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub created: u64,
}

/// Whether a container runs; asked of the kernel, not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The `pipkin run` that started it is alive.
    Running,
    /// It ended, with this exit code if its `pipkin run` saw it.
    Exited(Option<u8>),
}

/// A container in the store.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its directory: the bundle (`config.json`), `upper`, `work`, `merged`.
    pub directory: PathBuf,
    /// What it is.
    pub record: Record,
}

/// Held while a container runs.
#[derive(Debug)]
pub struct Running(#[allow(dead_code, reason = "closing the file releases the lock")] File);

impl Container {
    /// A new container of `image`, held as running by the caller.
    ///
    /// # Errors
    /// The name is taken or not a name, the image was removed meanwhile, or the directory can not be made.
    pub fn create(
        store: &Store,
        name: Option<&str>,
        image: &Image,
        image_name: &str,
        command: Vec<String>,
    ) -> Result<(Self, Running)> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").on("read", "/proc/sys/kernel/random/uuid")?;
        let id: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
        let name = name.map_or_else(|| id[..12].to_string(), str::to_string);
        check_name(&name)?;
        let (locked, staging) = store.begin()?;
        if let Some(other) = Self::all(store)?.into_iter().find(|c| c.record.name == name) {
            let message = format!(
                "a container named {name} is there already ({}): remove it with pipkin rm {name}",
                &other.record.id[..12]
            );
            return Err(Error::new(Kind::Exists, message));
        }
        if !image.layers.iter().all(|layer| store.layer_path(layer).exists()) {
            return Err(Error::new(Kind::NotFound, format!("image {image_name} was removed meanwhile")));
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let layers = image.layers.iter().map(ToString::to_string).collect();
        let record = Record {
            id,
            name,
            image: image.descriptor.clone(),
            image_name: image_name.to_string(),
            layers,
            command,
            created,
        };
        let made = staging.path("container");
        for directory in ["", "upper", "work", "merged"] {
            let path = made.join(directory);
            fs::DirBuilder::new().mode(0o700).create(&path).on("create", &path)?;
        }
        let text = serde_json::to_vec_pretty(&record).map_err(|cause| Error::invalid("container.json", cause))?;
        fs::write(made.join("container.json"), text).on("write", made.join("container.json"))?;
        let path = made.join("running");
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).on("create", &path)?;
        lock.lock().on("lock", &made)?;
        let directory = store.path("containers").join(&record.id);
        fs::rename(&made, &directory).on("create", &directory)?;
        drop(locked);
        Ok((Self { directory, record }, Running(lock)))
    }

    /// All containers, oldest first. One whose record is missing or damaged (a power failure) is none.
    ///
    /// # Errors
    /// The directory can not be read.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        let mut containers: Vec<Self> = Self::directories(store)?.into_iter().filter_map(Self::read).collect();
        containers.sort_by(|a, b| (a.record.created, &a.record.id).cmp(&(b.record.created, &b.record.id)));
        Ok(containers)
    }

    /// Directories of containers that are none; only to be asked under the store's lock, as a living one is always whole.
    pub(crate) fn damaged(store: &Store) -> Result<Vec<PathBuf>> {
        let mut directories = Self::directories(store)?;
        directories.retain(|directory| Self::read(directory.clone()).is_none());
        Ok(directories)
    }

    fn directories(store: &Store) -> Result<Vec<PathBuf>> {
        let path = store.path("containers");
        let entries = fs::read_dir(&path).on("read", &path)?;
        entries.map(|entry| Ok(entry.on("read", &path)?.path())).collect()
    }

    fn read(directory: PathBuf) -> Option<Self> {
        let data = fs::read(directory.join("container.json")).ok()?;
        Some(Self { record: serde_json::from_slice(&data).ok()?, directory })
    }

    /// The container called `text`, or whose id starts with it.
    ///
    /// # Errors
    /// None, or several.
    pub fn find(store: &Store, text: &str) -> Result<Self> {
        let all = Self::all(store)?;
        if let Some(container) = all.iter().find(|c| c.record.name == text) {
            return Ok(container.clone());
        }
        let mut found = all.into_iter().filter(|c| !text.is_empty() && c.record.id.starts_with(text));
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(container),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("container id {text:?}"), "several containers start with it"))
            }
            (None, _) => Err(Error::new(Kind::NotFound, format!("no container {text:?}: see pipkin ps -a"))),
        }
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// Its lock file can not be opened; [`Kind::NotFound`] when it was removed meanwhile.
    pub fn status(&self) -> Result<Status> {
        match self.open_lock()?.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(Status::Running),
            Err(TryLockError::Error(cause)) => Err(cause).on("lock", &self.directory),
            Ok(()) => {
                let code =
                    fs::read_to_string(self.directory.join("exit")).ok().and_then(|text| text.trim().parse().ok());
                Ok(Status::Exited(code))
            }
        }
    }

    /// Waits until its `pipkin run` has ended.
    ///
    /// # Errors
    /// Its lock file can not be opened or locked; one that is gone is fine.
    pub fn wait(&self) -> Result<()> {
        match self.open_lock() {
            Ok(lock) => lock.lock().on("lock", &self.directory),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Only [`Container::create`] makes the file: it must not come back in a directory that is being removed.
    fn open_lock(&self) -> Result<File> {
        let path = self.directory.join("running");
        match File::options().write(true).open(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(Kind::NotFound, format!("container {} was removed meanwhile", self.record.name)))
            }
            result => result.on("open", &path),
        }
    }

    /// Notes how it ended.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn set_exit_code(&self, code: u8) -> Result<()> {
        let path = self.directory.join("exit");
        fs::write(&path, code.to_string()).on("write", &path)
    }

    /// Removes it and its writable layer, and its image if that has no name any more.
    ///
    /// # Errors
    /// Its files can not be removed.
    pub fn remove(self, store: &Store) -> Result<()> {
        let locked = store.lock()?;
        let files = Staging::take_out(store, &self.directory, &locked)?;
        let named = store.names()?.iter().any(|(_, image)| image.digest() == self.record.image.digest());
        let trash = if named { None } else { store.collect(&locked)? };
        drop(locked);
        // Deleting can take long, and nobody has to wait for it.
        drop((files, trash));
        Ok(())
    }
}

/// The names that Docker allows, so that they are safe everywhere.
fn check_name(name: &str) -> Result<()> {
    let ok = name.len() <= 128
        && name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(format!("container name {name:?}"), "must be letters, digits, _ . and -"))
    }
}
