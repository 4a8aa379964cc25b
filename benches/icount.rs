//! What a boot costs in instructions, the kernel's included: the same on every run and on every machine, however busy it is. Made
//! to judge changes that noise hides.
//!
//! QEMU emulates a machine whose clock advances by a nanosecond with each instruction (`-icount`), with one processor, so that what
//! launcher and stage do at the same time is added up. This program is the machine's only file system's `/init`, too.
//!
//! `make bench-icount`, or `cargo bench --profile dev --bench icount -- [--rounds N] [--json FILE]`; root, because bundles are made;
//! `PIPKIN_BENCH_KERNEL` names a kernel (bzImage), else that of `make test-vm` is taken, or Debian's for clouds is fetched.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

mod side_by_side;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use pipkin_harness::{Lab, install};
use pipkin_measure::{Comparison, Contender};

use side_by_side::pieces;

/// Before each figure, which may come behind what the firmware says.
const RESULT: &str = "ICOUNT ";

fn main() {
    if std::process::id() == 1 {
        inside();
        // The end of PID 1 is a panic, and a panic is the end of this machine.
        return;
    }
    let mut rounds = 40;
    let mut json = None;
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--rounds", Some(value)) => rounds = value.parse().expect("--rounds: a number"),
            ("--json", Some(value)) => json = Some(value),
            (other, _) => panic!("{other}: there are --rounds N and --json FILE"),
        }
    }
    let Some(lab) = Lab::root() else { return };
    let results = emulate(&lab, &kernel(&lab), rounds);
    println!("\nboot of a static `true`, pure v2, {rounds} rounds, thousands of instructions");
    println!("each line but the last has one piece of a runtime's work more than the line before\n");
    let first = results.first().expect("the machine measured something").1;
    let mut last = first;
    for (name, median) in &results {
        println!("{median:9.0} {:+7.0}   times floor {:.2}   {name}", median - last, median / first);
        last = *median;
    }
    if let Some(file) = json {
        let each = results.iter().map(|(name, median)| serde_json::json!({"name": name, "kilo_instructions": median}));
        let document = serde_json::json!({"bench": "icount", "contenders": each.collect::<Vec<_>>()});
        std::fs::write(file, format!("{document:#}\n")).expect("write the JSON file");
    }
}

/// A bzImage.
fn kernel(lab: &Lab) -> PathBuf {
    if let Some(kernel) = std::env::var_os("PIPKIN_BENCH_KERNEL") {
        return kernel.into();
    }
    let programs = lab.product_path("pipkin-runtime");
    // TARGET/TRIPLE/PROFILE/pipkin-runtime beside TARGET/vm/kernel
    if let Some(kernel) = programs.ancestors().nth(3).map(|target| target.join("vm/kernel"))
        && kernel.is_file()
    {
        return kernel;
    }
    let script = "package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1); \
                  apt-get download -q \"$package\" && dpkg-deb -x ./*.deb . && mv boot/vmlinuz-* kernel";
    let directory = lab.directory("kernel");
    let fetched = Command::new("sh").args(["-ec", script]).current_dir(&directory).status();
    assert!(fetched.is_ok_and(|status| status.success()), "no kernel: name one with PIPKIN_BENCH_KERNEL");
    directory.join("kernel")
}

/// Thousands of instructions by name, the floor first.
fn emulate(lab: &Lab, kernel: &Path, rounds: usize) -> Vec<(String, f64)> {
    let tree = lab.directory("machine");
    for directory in ["proc", "sys", "dev", "run", "tmp", "mnt"] {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    install(&std::env::current_exe().unwrap(), &tree.join("init"));
    for program in ["pipkin-floor", "pipkin-floor-bare", "pipkin-runtime"] {
        install(&lab.product_path(program), &tree.join(program));
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let copied = Command::new("cp").arg("-a").arg(bundle.path()).arg(tree.join("bundle")).status();
    assert!(copied.expect("cp").success());
    let pack = "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > ../machine.gz";
    let packed = Command::new("sh").args(["-ec", pack]).current_dir(&tree).status();
    assert!(packed.expect("sh").success(), "busybox cpio");
    let output = Command::new("timeout")
        .args(["600", "qemu-system-x86_64", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"])
        .args(["-rtc", "clock=vm", "-cpu", "max", "-m", "1024", "-nographic", "-nic", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(lab.path("machine.gz"))
        .args(["-append", &format!("console=ttyS0 panic=-1 quiet rw ROUNDS={rounds}")])
        .stdin(Stdio::null())
        .output()
        .expect("qemu-system-x86_64: apt-get install qemu-system-x86");
    let text = String::from_utf8_lossy(&output.stdout);
    let results = text.lines().filter_map(|line| line.trim().split_once(RESULT)?.1.rsplit_once(' '));
    let results: Vec<_> = results.filter_map(|(name, median)| Some((name.to_owned(), median.parse().ok()?))).collect();
    assert_eq!(results.len(), pieces::BOOT.len() + 3, "the machine said: {text}");
    results
}

/// In the emulated machine, as PID 1.
fn inside() {
    let none = None::<&str>;
    let place = |source: &str, target: &str, flags| mount(Some(source), target, none, flags, none).expect(target);
    // pivot_root(2) refuses the kernel's first root; the same directory, mounted over itself, is another one.
    place("/", "/mnt", MsFlags::MS_BIND);
    nix::unistd::chdir("/mnt").unwrap();
    place(".", "/", MsFlags::MS_MOVE);
    nix::unistd::chroot(".").unwrap();
    nix::unistd::chdir("/").unwrap();
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none).expect(target);
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let floor = ["/bundle/rootfs", "bench", "/bin/true"];
    let names: Vec<&str> = pieces::BOOT.iter().map(|piece| piece.0).collect();
    let mut contenders = vec![
        ("floor", words(&[&["/pipkin-floor"], &floor[..]].concat())),
        (pieces::OWN_START.1, words(&[&["/pipkin-floor-bare"], &floor[..]].concat())),
    ];
    contenders.extend(pieces::BOOT.iter().enumerate().map(|(last, piece)| {
        let with = ["/pipkin-floor-bare", "--state", "/run", "--with", &names[..=last].join(",")];
        (piece.1, words(&[&with, &floor[..]].concat()))
    }));
    contenders.push((
        "pipkin-runtime",
        words(&["/pipkin-runtime", "--root", "/run/state", "run", "--bundle", "/bundle", "bench"]),
    ));
    let contender = |(name, words): (&str, Vec<String>)| {
        Contender::new(name, move || {
            let started = Instant::now();
            let status = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
            // A nanosecond is an instruction.
            let instructions = started.elapsed().as_nanos() as f64 / 1000.0;
            match status {
                Ok(status) if status.success() => Ok(instructions),
                other => Err(format!("{other:?}")),
            }
        })
    };
    let contenders = contenders.into_iter().map(contender).collect();
    let comparison = Comparison::run("boot", "thousand instructions", rounds, contenders);
    for row in comparison.expect("a boot in the emulated machine").rows {
        println!("{RESULT}{} {:.0}", row.name, row.samples.spread().median);
    }
}
