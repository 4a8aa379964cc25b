//! `linux.intelRdt`: shares of caches and memory bandwidth through the kernel's resctrl file system (config-linux.md,
//! "IntelRdt"; Documentation/arch/x86/resctrl.rst).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Problems, Result};

/// What the container asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// The group's directory in resctrl; empty for the one that all processes are in at first.
    pub group: String,
    /// Whether the group is the container's own (no `closID`), and goes away with it.
    pub own: bool,
    /// Lines for the file `schemata`.
    pub schemata: Vec<String>,
    /// A directory below `mon_groups` for figures of this container alone.
    pub monitor: Option<String>,
    /// Figures that the machine must have (`enableCMT`, `enableMBM`).
    pub features: Vec<String>,
}

/// What `delete` takes away, and where `exec` enters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The container's group.
    pub group: PathBuf,
    /// The container's group for figures.
    pub monitor: Option<PathBuf>,
    /// Whether the group itself is the container's.
    pub own: bool,
}

impl Plan {
    /// Checks `linux.intelRdt`; what can not be is noted.
    pub fn compile(id: &str, linux: Option<&runtime::Linux>, problems: &mut Problems) -> Option<Self> {
        let asked = linux?.intel_rdt().as_ref()?;
        let class = asked.clos_id().as_deref().filter(|class| !class.is_empty());
        if let Some(class) = class.filter(|class| !is_class(class)) {
            problems.add(
                "linux.intelRdt.closID",
                format!("{class:?} must be the name of a directory in resctrl, or \"/\""),
            );
        }
        let features = [(asked.enable_cmt(), "llc_occupancy"), (asked.enable_mbm(), "mbm_total_bytes")];
        let features = features.into_iter().filter(|(asked, _)| **asked == Some(true)).map(|(_, name)| name.to_owned());
        Some(Self {
            group: class.unwrap_or(id).trim_start_matches('/').to_owned(),
            own: class.is_none(),
            schemata: schemata(asked, problems),
            monitor: asked.enable_monitoring().unwrap_or(false).then(|| id.to_owned()),
            features: features.collect(),
        })
    }

    /// Where the groups will be in the machine's resctrl.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the machine has none, or does not count what is asked for.
    pub fn place(&self) -> Result<Record> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").step(|| "read /proc/self/mountinfo")?;
        let top = mount_point(&mounts).ok_or_else(|| {
            let none = Error::invalid("linux.intelRdt", "no resctrl file system is mounted here");
            none.remedy(
                "mount one on a processor that has it (mount -t resctrl resctrl /sys/fs/resctrl), or remove the field",
            )
        })?;
        self.place_in(&top)
    }

    fn place_in(&self, top: &Path) -> Result<Record> {
        let known = fs::read_to_string(top.join("info/L3_MON/mon_features")).unwrap_or_default();
        if let Some(missing) = self.features.iter().find(|feature| !known.lines().any(|line| line == *feature)) {
            let field = if missing == "llc_occupancy" { "enableCMT" } else { "enableMBM" };
            return Err(Error::invalid(
                format!("linux.intelRdt.{field}"),
                format!("this machine does not count {missing}"),
            ));
        }
        let group = top.join(&self.group);
        let monitor = self.monitor.as_ref().map(|name| group.join("mon_groups").join(name));
        Ok(Record { group, monitor, own: self.own })
    }

    /// Makes the groups, with their shares. After an error nothing stays of what was made.
    ///
    /// # Errors
    /// What the kernel refused; [`Kind::Exists`] for a group of that name.
    pub fn create(&self, place: &Record) -> Result<()> {
        let mut made = Vec::new();
        let result = self.fill(place, &mut made);
        if result.is_err() {
            for directory in made.iter().rev() {
                // Best effort: the error that led here is the one to report.
                let _ = fs::remove_dir(directory);
            }
        }
        result
    }

    fn fill(&self, place: &Record, made: &mut Vec<PathBuf>) -> Result<()> {
        let group = &place.group;
        if self.own || !self.schemata.is_empty() {
            match fs::create_dir(group) {
                Ok(()) => {
                    made.push(group.clone());
                    write_schemata(group, &self.schemata)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && !self.own => self.compare(group)?,
                Err(error) => return Err(explain_group(error, group)),
            }
        } else if !group.is_dir() {
            return Err(Error::invalid(
                "linux.intelRdt.closID",
                format!("there is no {}, and without schemata none is made", group.display()),
            ));
        }
        if let Some(monitor) = &place.monitor {
            fs::create_dir(monitor).map_err(|error| explain_group(error, monitor))?;
            made.push(monitor.clone());
        }
        Ok(())
    }

    /// A class that exists is shared: what it has must be what is asked for.
    fn compare(&self, group: &Path) -> Result<()> {
        let file = group.join("schemata");
        let there = fs::read_to_string(&file).on("read", &file)?;
        let there: BTreeMap<_, _> = there.lines().filter_map(shares).collect();
        for line in &self.schemata {
            let wanted = shares(line);
            let same = |(resource, wanted): &(String, BTreeMap<u64, String>)| {
                there.get(resource).is_some_and(|there| wanted.iter().all(|(id, share)| there.get(id) == Some(share)))
            };
            if !wanted.is_some_and(|wanted| same(&wanted)) {
                return Err(Error::invalid(
                    "linux.intelRdt",
                    format!(
                        "{line:?} is not what the class {} has; others may be in it, so it is not changed",
                        group.display()
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Record {
    /// Puts a process, and whatever it starts from then on, into the groups.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn enter(&self, pid: Pid) -> Result<()> {
        // The class first: a group for figures takes only processes of its class.
        for directory in [Some(&self.group), self.monitor.as_ref()].into_iter().flatten() {
            let tasks = directory.join("tasks");
            fs::write(&tasks, pid.as_raw_nonzero().to_string())
                .on("linux.intelRdt: write the process's id to", &tasks)?;
        }
        Ok(())
    }

    /// Gives the container's own group other shares.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a class, in which others may be too; what the kernel refused.
    pub fn update(&self, schemata: &[String]) -> Result<()> {
        if !self.own {
            let text = format!("the class {} is not the container's own, so it is not changed", self.group.display());
            return Err(Error::invalid("linux.intelRdt.closID", text));
        }
        write_schemata(&self.group, schemata)
    }

    /// Takes away what is the container's own; what is gone is fine.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove(&self) -> Result<()> {
        let own = Some(&self.group).filter(|_| self.own);
        for directory in [self.monitor.as_ref(), own].into_iter().flatten() {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).on("linux.intelRdt: remove", directory);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// All lines in one write, as the kernel wants it: all of them or none come into force.
fn write_schemata(group: &Path, schemata: &[String]) -> Result<()> {
    if schemata.is_empty() {
        return Ok(());
    }
    let file = group.join("schemata");
    let text: String = schemata.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).map_err(|cause| {
        let error = Error::system(format!("linux.intelRdt: write {schemata:?} to {}", file.display()), cause);
        // The kernel says what is wrong with a line in a file of its own.
        let said = group.parent().map(|top| top.join("info/last_cmd_status"));
        match said.and_then(|said| fs::read_to_string(said).ok()).filter(|said| said.trim() != "ok") {
            Some(said) => error.remedy(said.trim()),
            None => error,
        }
    })
}

fn explain_group(error: std::io::Error, group: &Path) -> Error {
    let explained = Error::system(format!("linux.intelRdt: make the group {}", group.display()), error);
    match explained.errno() {
        Some(libc::ENOSPC) => explained.remedy("the processor has no more classes; name an existing one in closID"),
        Some(libc::EEXIST) => {
            explained.with_kind(Kind::Exists).remedy("is it left over from another container of that name?")
        }
        _ => explained,
    }
}

/// The first file system of that type (proc_pid_mountinfo(5)).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let line =
        mountinfo.lines().find(|line| line.split_once(" - ").is_some_and(|(_, end)| end.starts_with("resctrl ")))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// A directory right in resctrl, and none of the kernel's own; "/" is resctrl's own top.
fn is_class(name: &str) -> bool {
    let reserved = [".", "..", "info", "mon_groups", "mon_data"];
    name == "/"
        || !(name.contains(|c: char| c == '/' || c.is_control()) || reserved.contains(&name) || name.len() > 255)
}

/// `schemata` counts alone; else the lines of `l3CacheSchema`, without those for bandwidth where `memBwSchema` has them.
fn schemata(asked: &runtime::LinuxIntelRdt, problems: &mut Problems) -> Vec<String> {
    let given: Vec<&str> = asked.schemata().iter().flatten().map(String::as_str).collect();
    for (index, line) in given.iter().enumerate().filter(|(_, line)| !is_line(line)) {
        problems.add(
            format!("linux.intelRdt.schemata[{index}]"),
            format!("{line:?} is not one line such as \"L3:0=ff;1=f\""),
        );
    }
    let bandwidth = asked.mem_bw_schema().as_deref().filter(|text| !text.is_empty());
    if let Some(text) = bandwidth.filter(|text| !text.starts_with("MB:") || !is_line(text)) {
        problems.add("linux.intelRdt.memBwSchema", format!("{text:?} is not one line such as \"MB:0=50;1=50\""));
    }
    let caches: Vec<&str> = asked.l3_cache_schema().as_deref().unwrap_or_default().lines().map(str::trim).collect();
    let caches = caches.into_iter().filter(|line| !(line.is_empty() || bandwidth.is_some() && line.starts_with("MB:")));
    let caches: Vec<&str> = caches.collect();
    if let Some(line) = caches.iter().find(|line| !is_line(line)) {
        problems.add("linux.intelRdt.l3CacheSchema", format!("{line:?} is not a line such as \"L3:0=ff;1=f\""));
    }
    let lines = if given.is_empty() { caches.into_iter().chain(bandwidth).collect() } else { given };
    lines.into_iter().map(str::to_owned).collect()
}

fn is_line(line: &str) -> bool {
    shares(line).is_some() && !line.contains(char::is_control)
}

/// `L3:0=00ff;1=f` as the resource and, for each cache, its share without leading zeros.
fn shares(line: &str) -> Option<(String, BTreeMap<u64, String>)> {
    let (resource, list) = line.trim().split_once(':')?;
    let share = |part: &str| {
        let (id, share) = part.split_once('=')?;
        let share = share.trim().to_ascii_lowercase();
        let digits = share.trim_start_matches("0x").trim_start_matches('0');
        let well_formed = !share.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        well_formed.then_some((id.trim().parse().ok()?, digits.to_owned()))
    };
    let shares = list.trim_end_matches(';').split(';').map(share).collect::<Option<BTreeMap<_, _>>>()?;
    (!resource.is_empty()).then(|| (resource.to_owned(), shares))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is laid out like resctrl, which no machine of ours has.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let top = std::env::temp_dir().join(format!("pipkin-resctrl-{name}-{}", std::process::id()));
            fs::create_dir_all(top.join("info/L3_MON")).unwrap();
            fs::create_dir(top.join("mon_groups")).unwrap();
            fs::write(top.join("info/L3_MON/mon_features"), "llc_occupancy\n").unwrap();
            fs::create_dir_all(top.join("gold/mon_groups")).unwrap();
            fs::write(top.join("gold/schemata"), "    MB:0=  50;1= 100\n    L3:0=000ff;1=fffff\n").unwrap();
            Self(top)
        }

        fn create(&self, intel_rdt: &str) -> Result<Record> {
            let plan = plan(intel_rdt).unwrap();
            let place = plan.place_in(&self.0)?;
            plan.create(&place).map(|()| place)
        }

        fn read(&self, below: &str) -> String {
            fs::read_to_string(self.0.join(below)).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn plan(intel_rdt: &str) -> std::result::Result<Plan, String> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"intelRdt":{intel_rdt}}}}}"#);
        let config = crate::config::of_text(Path::new("config.json"), text.into_bytes()).unwrap();
        let mut problems = Problems::default();
        let plan = Plan::compile("box", config.spec.linux().as_ref(), &mut problems);
        problems.into_result().map(|()| plan.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_container_without_a_class_has_one_of_its_own() {
        let fake = Fake::new("own");
        let record = fake.create(r#"{"l3CacheSchema":"L3:0=f;1=f\nMB:0=10","memBwSchema":"MB:0=20;1=30"}"#).unwrap();
        assert_eq!(fake.read("box/schemata"), "L3:0=f;1=f\nMB:0=20;1=30\n");
        record.enter(Pid::INIT).unwrap();
        assert_eq!(fake.read("box/tasks"), "1");
        assert_eq!(fake.create("{}").unwrap_err().kind(), Kind::Exists);
        // The kernel's files do not keep a group from being removed, those of a fake do.
        fs::remove_file(fake.0.join("box/schemata")).unwrap();
        fs::remove_file(fake.0.join("box/tasks")).unwrap();
        record.remove().unwrap();
        record.remove().unwrap();
        assert!(!fake.0.join("box").exists());
    }

    #[test]
    fn schemata_count_alone() {
        let plan =
            plan(r#"{"schemata":["L2:0=3","MB:0=10"],"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=99"}"#).unwrap();
        assert_eq!(plan.schemata, ["L2:0=3", "MB:0=10"]);
    }

    #[test]
    fn a_class_that_exists_is_compared_and_stays() {
        let fake = Fake::new("shared");
        let before = fake.read("gold/schemata");
        for same in [r#"{"closID":"gold"}"#, r#"{"closID":"gold","l3CacheSchema":"L3:0=ff","memBwSchema":"MB:1=100"}"#]
        {
            let record = fake.create(same).unwrap();
            record.remove().unwrap();
        }
        let error = fake.create(r#"{"closID":"gold","l3CacheSchema":"L3:0=f"}"#).unwrap_err().to_string();
        assert!(error.contains("L3:0=f") && error.contains("gold"), "{error}");
        let error = fake.create(r#"{"closID":"lead"}"#).unwrap_err().to_string();
        assert!(error.contains("linux.intelRdt.closID") && error.contains("lead"), "{error}");
        assert_eq!(fake.read("gold/schemata"), before);
        let made = fake.create(r#"{"closID":"lead","schemata":["L3:0=1"]}"#).unwrap();
        assert_eq!((fake.read("lead/schemata").as_str(), made.own), ("L3:0=1\n", false));
    }

    #[test]
    fn figures_of_one_container() {
        let fake = Fake::new("monitor");
        let record = fake.create(r#"{"closID":"gold","enableMonitoring":true,"enableCMT":true}"#).unwrap();
        record.enter(Pid::INIT).unwrap();
        assert_eq!([fake.read("gold/tasks"), fake.read("gold/mon_groups/box/tasks")], ["1", "1"]);
        fs::remove_file(fake.0.join("gold/mon_groups/box/tasks")).unwrap();
        record.remove().unwrap();
        assert!(!fake.0.join("gold/mon_groups/box").exists() && fake.0.join("gold").exists());
        let record = fake.create(r#"{"closID":"/","enableMonitoring":true}"#).unwrap();
        assert_eq!(record.monitor, Some(fake.0.join("mon_groups/box")));
        let error = fake.create(r#"{"closID":"gold","enableMBM":true}"#).unwrap_err().to_string();
        assert!(error.contains("linux.intelRdt.enableMBM"), "{error}");
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let fake = Fake::new("failure");
        // Its directory can be made, a group for figures in it not.
        fake.create(r#"{"enableMonitoring":true}"#).unwrap_err();
        assert!(!fake.0.join("box").exists());
    }

    #[test]
    fn what_is_refused() {
        for (intel_rdt, field) in [
            (r#"{"closID":".."}"#, "closID"),
            (r#"{"closID":"a/b"}"#, "closID"),
            (r#"{"closID":"info"}"#, "closID"),
            (r#"{"schemata":["L3:0=f\nMB:0=1"]}"#, "schemata[0]"),
            (r#"{"schemata":["L3"]}"#, "schemata[0]"),
            (r#"{"l3CacheSchema":"L3:0=xyz"}"#, "l3CacheSchema"),
            (r#"{"memBwSchema":"L3:0=f"}"#, "memBwSchema"),
            (r#"{"memBwSchema":"MB:0=1\nL3:0=f"}"#, "memBwSchema"),
        ] {
            let error = plan(intel_rdt).unwrap_err();
            assert!(error.contains(&format!("linux.intelRdt.{field}")), "{intel_rdt}: {error}");
        }
    }

    #[test]
    fn the_mount_is_found() {
        let line = "30 25 0:27 / /sys/fs/resctrl rw,nosuid shared:9 - resctrl resctrl rw\n";
        let other = "29 25 0:26 / /sys/fs/bpf rw - bpf bpf rw\n";
        assert_eq!(mount_point(&format!("{other}{line}")), Some("/sys/fs/resctrl".into()));
        assert_eq!(mount_point(other), None);
    }
}
