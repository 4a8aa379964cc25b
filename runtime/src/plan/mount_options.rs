//! The options of `mounts[].options`: the spec's, and those of mount(8) and the file systems.

use super::mounts::{Attributes, Parameter, Propagation};

/// What a list of options means.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MountOptions {
    /// `bind` or `rbind`; the latter is recursive.
    pub bind: Option<Recursive>,
    /// Of this mount only.
    pub attributes: Attributes,
    /// Of this mount and all below it (`rro`, …).
    pub recursive_attributes: Attributes,
    /// `private`, `rslave`, ….
    pub propagation: Option<Propagation>,
    /// For the file system.
    pub parameters: Vec<Parameter>,
    /// `tmpcopyup`: a tmpfs starts with the content of what it covers.
    pub copy_up: bool,
    /// `src-nofollow`: the source's last component may be a symbolic link, which is then mounted itself.
    pub source_nofollow: bool,
    /// `idmap` or `ridmap`.
    pub id_mapped: Option<Recursive>,
}

/// Whether something goes for what is below, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recursive {
    /// Just this one.
    No,
    /// With everything below.
    Yes,
}

/// The options that this runtime itself understands, sorted, for `features`; all others are the file systems'.
pub const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// What one attribute's option sets and clears.
struct AttributeChange {
    set: u64,
    clear: u64,
}

/// mount_setattr(2): the access-time attributes are one value of several bits, not flags.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

fn attribute(option: &str) -> Option<AttributeChange> {
    let change = |set, clear| Some(AttributeChange { set, clear });
    match option {
        "ro" => change(libc::MOUNT_ATTR_RDONLY, 0),
        "rw" => change(0, libc::MOUNT_ATTR_RDONLY),
        "nosuid" => change(libc::MOUNT_ATTR_NOSUID, 0),
        "suid" => change(0, libc::MOUNT_ATTR_NOSUID),
        "nodev" => change(libc::MOUNT_ATTR_NODEV, 0),
        "dev" => change(0, libc::MOUNT_ATTR_NODEV),
        "noexec" => change(libc::MOUNT_ATTR_NOEXEC, 0),
        "exec" => change(0, libc::MOUNT_ATTR_NOEXEC),
        "noatime" => change(libc::MOUNT_ATTR_NOATIME, ATIME),
        "strictatime" => change(libc::MOUNT_ATTR_STRICTATIME, ATIME),
        // The kernel's default is relatime.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => change(libc::MOUNT_ATTR_RELATIME, ATIME),
        "nodiratime" => change(libc::MOUNT_ATTR_NODIRATIME, 0),
        "diratime" => change(0, libc::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => change(libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
        "symfollow" => change(0, libc::MOUNT_ATTR_NOSYMFOLLOW),
        _ => None,
    }
}

/// Reads the options of one mount in order; a later one wins over an earlier.
///
/// # Errors
/// The option and why it can not be.
pub(super) fn parse(options: &[String]) -> Result<MountOptions, String> {
    let mut parsed = MountOptions::default();
    for option in options {
        parse_one(option, &mut parsed)?;
    }
    Ok(parsed)
}

fn parse_one(option: &str, parsed: &mut MountOptions) -> Result<(), String> {
    if let Some(change) = attribute(option) {
        parsed.attributes.change(change.set, change.clear);
        return Ok(());
    }
    if let Some(change) = option.strip_prefix('r').and_then(attribute) {
        parsed.recursive_attributes.change(change.set, change.clear);
        return Ok(());
    }
    if let Some(propagation) = Propagation::parse(option) {
        parsed.propagation = Some(propagation);
        return Ok(());
    }
    match option {
        "bind" => parsed.bind = Some(Recursive::No),
        "rbind" => parsed.bind = Some(Recursive::Yes),
        "tmpcopyup" => parsed.copy_up = true,
        "src-nofollow" => parsed.source_nofollow = true,
        "idmap" => parsed.id_mapped = Some(Recursive::No),
        "ridmap" => parsed.id_mapped = Some(Recursive::Yes),
        // Nothing to do: the defaults, and the kernel log's loudness, which the mount API does not have.
        "defaults" | "silent" | "loud" => {}
        "remount" => {
            return Err("\"remount\" is not possible: every mount is new; give the options to the mount itself".into());
        }
        "" => return Err("an empty option".into()),
        other => parsed.parameters.push(parameter(other)),
    }
    Ok(())
}

fn parameter(option: &str) -> Parameter {
    match option.split_once('=') {
        Some((key, value)) => Parameter::Value { key: key.to_owned(), value: value.to_owned() },
        None => Parameter::Flag(option.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_list(options: &str) -> Result<MountOptions, String> {
        parse(&options.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_and_parameters() {
        let parsed = parse_list("nosuid,strictatime,mode=755,size=65536k,newinstance").unwrap();
        assert_eq!(parsed.attributes.set, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME);
        assert_eq!(parsed.attributes.clear, ATIME);
        assert_eq!(parsed.parameters.len(), 3);
        assert_eq!(parsed.parameters[2], Parameter::Flag("newinstance".into()));
    }

    #[test]
    fn the_last_one_wins() {
        let parsed = parse_list("ro,rw").unwrap();
        assert_eq!((parsed.attributes.set, parsed.attributes.clear), (0, libc::MOUNT_ATTR_RDONLY));
        let parsed = parse_list("rw,ro").unwrap();
        assert_eq!((parsed.attributes.set, parsed.attributes.clear), (libc::MOUNT_ATTR_RDONLY, 0));
    }

    #[test]
    fn recursive_attributes_are_not_confused_with_words_in_r() {
        let parsed = parse_list("rbind,rro,relatime,rprivate,rnosuid").unwrap();
        assert_eq!(parsed.bind, Some(Recursive::Yes));
        assert_eq!(parsed.recursive_attributes.set, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID);
        assert_eq!(parsed.attributes.clear, ATIME);
        assert_eq!(parsed.propagation, Some(Propagation::parse("rprivate").unwrap()));
    }

    #[test]
    fn remount_is_refused() {
        assert!(parse_list("remount,ro").unwrap_err().contains("remount"));
    }
}
