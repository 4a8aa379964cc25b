//! The options of `mounts[].options`: the spec's, and those of mount(8) and the file systems.

use super::mount::{Attributes, Parameter, Propagation, SourceLink};

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
    /// `src-nofollow` or `copy-symlink`: what if the source is a symbolic link.
    pub source_link: SourceLink,
    /// `dest-nofollow`: the destination may be a symbolic link, which is then covered itself.
    pub destination_nofollow: bool,
    /// `remount`: an earlier entry's mount is changed.
    pub remount: bool,
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
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
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
    "remount",
    "rexec",
    "ridmap",
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
        "src-nofollow" => parsed.source_link = SourceLink::Mount,
        "copy-symlink" => parsed.source_link = SourceLink::Copy,
        "dest-nofollow" => parsed.destination_nofollow = true,
        "idmap" => parsed.id_mapped = Some(Recursive::No),
        "ridmap" => parsed.id_mapped = Some(Recursive::Yes),
        "remount" => parsed.remount = true,
        // Nothing to do: the defaults, and the kernel log's loudness, which the mount API does not have.
        "defaults" | "silent" | "loud" => {}
        // What fstab(5) says about when and by whom it is mounted means nothing here.
        "auto" | "noauto" | "nouser" | "_netdev" => {}
        "" => return Err("an empty option".into()),
        other if other.starts_with("x-") || other.starts_with("X-") || other.starts_with("comment=") => {}
        other => match superblock_default(other) {
            // A new file system has it; an earlier word for the opposite is taken back.
            Some(opposite) if !parsed.remount => {
                parsed.parameters.retain(|parameter| *parameter != Parameter::Flag(opposite.to_owned()));
            }
            _ => parsed.parameters.push(parameter(other)),
        },
    }
    Ok(())
}

/// The opposite of an option that says how a file system is anyway (mount(8)).
fn superblock_default(option: &str) -> Option<&'static str> {
    match option {
        "async" => Some("sync"),
        "noiversion" => Some("iversion"),
        "nolazytime" => Some("lazytime"),
        "nomand" => Some("mand"),
        _ => None,
    }
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
    fn what_a_new_file_system_has_anyway_is_nothing() {
        assert_eq!(
            parse_list("sync,async,nolazytime,noiversion,nomand,_netdev,x-any").unwrap(),
            MountOptions::default()
        );
        assert_eq!(parse_list("async,sync").unwrap().parameters, [Parameter::Flag("sync".into())]);
        // To a file system that is there already it may be news.
        assert_eq!(parse_list("remount,async").unwrap().parameters, [Parameter::Flag("async".into())]);
    }
}
