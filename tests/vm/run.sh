#!/bin/sh
# Runs the tests that need more than this machine has: pure cgroup v2 with every controller, systemd on a system and a user
# bus, AppArmor, all capabilities. `make test` calls it, and `make test-vm`, for these tests alone.
#
#   tests/vm/run.sh              all of them
#   tests/vm/run.sh --all        also those that run everywhere, on this other kernel
#   tests/vm/run.sh NAME…        those test programs alone, such as runtime_lsm
#   tests/vm/run.sh --shell      no tests: a shell on the machine's console; `exit` ends it
#
# The machine is QEMU, emulated (no /dev/kvm is needed), with Debian's kernel for clouds and a Debian of a few packages as
# its first and only file system, in memory. Both are fetched once and kept below the target directory. Root is needed for
# that and to install missing tools, not to run.
#
# The exit status is that of the tests; 77, and the reason, where there can be no such machine: on another processor, or
# where something is missing that can not be installed or fetched. What is there and fails is a failure. Nothing hangs:
# each test program has its limit inside (inside.sh); a machine that says nothing for longer than that, or runs for longer
# than PIPKIN_VM_SECONDS, is made to tell what all of its processes are doing, and fails. What it said last stays below the
# target directory.
set -eu
cd "$(dirname "$0")/../.."
repository=$PWD

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$repository/$target ;; esac
triple=$(rustc -vV | sed -n 's/^host: //p')
# What is tested is what is shipped, unless PIPKIN_BIN_DIR says what else.
programs=${PIPKIN_BIN_DIR:-$target/$triple/release}
cache=$target/vm
# For everything, for one test program, and without a word. Generous: on two cores all of it takes less than three minutes.
seconds=${PIPKIN_VM_SECONDS:-1800}
limit=480
silence=600
suite=bookworm
packages=apparmor,busybox-static,criu,dbus,dbus-user-session,iproute2,iptables,libpam-systemd,procps,systemd,systemd-sysv,uidmap,util-linux
# From the kernel's package; everything else that is needed is built in.
# From the diag modules on: what CRIU asks for.
modules='fs/overlayfs/overlay fs/fuse/fuse drivers/block/loop block/bfq drivers/net/veth
    net/unix/unix_diag net/ipv4/inet_diag net/ipv4/tcp_diag net/ipv4/udp_diag net/ipv4/raw_diag net/packet/af_packet_diag
    net/netlink/netlink_diag drivers/net/tun lib/libcrc32c net/netfilter/nfnetlink net/netfilter/nf_tables
    net/ipv4/netfilter/nf_defrag_ipv4 net/ipv6/netfilter/nf_defrag_ipv6 net/netfilter/nf_conntrack net/netfilter/nf_conntrack_netlink'
# What only this machine can show, and with --all whatever else is about the kernel.
tests='runtime_lsm runtime_systemd runtime_limits runtime_cgroups runtime_resources runtime_checkpoint cgroup seccomp_kernel'
more='runtime_lifecycle runtime_exec runtime_namespaces runtime_mounts runtime_process runtime_seccomp'

say() { printf '\n== %s\n' "$*"; }
die() { printf '\nFAILED: %s\n' "$*" >&2; exit 1; }

# There can be no such machine here.
skip() { printf '\nSKIPPED the emulated machine: %s\n' "$*" >&2; exit 77; }

. tests/fetch.sh

# Runs a command that needs the network.
fetch() {
    what=$1
    shift
    fetched=0
    timeout 900 "$@" >"$scratch/fetched" 2>&1 || fetched=$?
    [ $fetched != 0 ] || return 0
    tail -n 20 "$scratch/fetched" >&2
    had_no_network $fetched "$scratch/fetched" || die "fetching $what"
    skip "$what can not be fetched"
}

install_tools() {
    [ "$(uname -m)" = x86_64 ] || skip "it is an x86_64, and this is none"
    missing=
    for pair in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap busybox:busybox-static; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -z "$missing" ] && return 0
    command -v apt-get >/dev/null || skip "these are not installed, and there is no apt-get:$missing"
    [ "$(id -u)" = 0 ] || skip "these are not installed, and only root could install them:$missing"
    say "installing what the machine needs:$missing"
    apt-get update -q >/dev/null 2>&1 || true
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive fetch "what the machine needs" \
        apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
}

# The newest kernel for clouds of this machine's Debian: $cache/kernel and $cache/modules.
fetch_kernel() {
    wanted="$modules $(sed -n "/^fetch_kernel/,/^}/p" tests/vm/run.sh | cksum)"
    [ "$(cat "$cache/kernel.of" 2>/dev/null)" = "$wanted" ] && return 0
    say "fetching a kernel"
    command -v apt-cache >/dev/null || skip "the kernel is Debian's, and there is no apt"
    dependency() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
    # The mirror has no other version than the newest.
    [ "$(id -u)" != 0 ] || apt-get update -q >/dev/null 2>&1 || true
    package=$(dependency)
    [ -n "$package" ] || skip "no package linux-image-cloud-amd64 in this machine's sources"
    mkdir "$scratch/kernel"
    # apt's unprivileged user can not write to root's directories; what it then says is no error.
    fetch "$package" sh -c 'cd "$1" && apt-get download -q "$2" && dpkg-deb -x ./*.deb .' sh "$scratch/kernel" "$package"
    mkdir -p "$cache/modules"
    for module in $modules; do
        cp "$scratch"/kernel/lib/modules/*/kernel/"$module".ko "$cache/modules/"
    done
    # Their signatures go with the rest that is not needed: to check them takes the emulated machine longer than to load them.
    ! command -v strip >/dev/null || strip --strip-debug "$cache"/modules/*.ko
    mv "$scratch"/kernel/boot/vmlinuz-* "$cache/kernel"
    echo "$wanted" >"$cache/kernel.of"
}

# Debian, packed: $cache/system.cpio. Made again when the list of packages changes.
make_system() {
    wanted="$suite $packages $(sed -n "/^make_system/,/^}/p" tests/vm/run.sh | cksum)"
    [ "$(cat "$cache/system.of" 2>/dev/null)" = "$wanted" ] && return 0
    [ "$(id -u)" = 0 ] || skip "its Debian is not there yet, and only root can make one"
    say "making a Debian of $packages"
    root=$scratch/root
    # What only a person reads, or a package manager needs, would be unpacked at every boot.
    fetch "a Debian" mmdebstrap --variant=essential --include="$packages" --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
        "$suite" "$root"
    rm -rf "$root"/var/cache/* "$root"/var/lib/apt "$root"/var/lib/dpkg/info "$root"/usr/lib/*/gconv "$root"/usr/lib/*/perl-base \
        "$root"/usr/share/perl* "$root"/usr/share/bash-completion "$root"/lib/udev/hwdb* "$root"/usr/lib/udev/hwdb*
    # pivot_root(2) refuses the kernel's first root; the same directory, mounted over itself, is another one.
    printf '#!/bin/busybox sh\nbusybox mount --bind / /mnt && cd /mnt && busybox mount --move . / && exec busybox chroot . /lib/systemd/systemd\n' \
        >"$root/init"
    chmod 755 "$root/init"
    # Nobody logs in, nothing is on a network, no disk is there to be checked, modules are loaded by the tests' own script.
    for unit in getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
        systemd-timesyncd.service systemd-networkd.service systemd-resolved.service systemd-update-utmp.service \
        systemd-journal-flush.service systemd-pcrphase.service systemd-pcrphase-sysinit.service apparmor.service e2scrub_reap.service \
        systemd-modules-load.service systemd-random-seed.service systemd-sysusers.service systemd-tmpfiles-clean.timer \
        modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
        modprobe@loop.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    # Otherwise systemd takes a controller from the whole machine as soon as none of its units asks for it.
    mkdir -p "$root/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultCPUAccounting=yes\nDefaultIOAccounting=yes\nDefaultMemoryAccounting=yes\nDefaultTasksAccounting=yes\n' \
        >"$root/etc/systemd/system.conf.d/accounting.conf"
    mkdir -p "$root/etc/systemd/system/user@.service.d"
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@.service.d/delegate.conf"
    pack "$root" "$cache/system.cpio"
    echo "$wanted" >"$cache/system.of"
}

# The programs, the test programs and what they read, as a second archive over the first.
pack_tests() {
    top=$scratch/tests
    mkdir -p "$top/pipkin/bin" "$top/pipkin/modules" "$top/pipkin/tests/deps" "$top$repository/tests/harness" \
        "$top$repository/runtime" "$top$target/$triple/tmp" "$top$target/tmp" "$top/etc/systemd/system/multi-user.target.wants"
    for program in pipkin pipkin-runtime pipkin-init pipkin-hello; do
        cp "$programs/$program" "$top/pipkin/bin/"
    done
    cp "$target/$triple/debug/pipkin-probe" "$top/pipkin/bin/"
    cp -r tests/data "$top$repository/tests/"
    cp "$cache"/modules/*.ko "$top/pipkin/modules/"
    cp tests/vm/inside.sh "$top/pipkin/"
    # The place of the test programs: PROFILE/deps/NAME, as cargo has it.
    while read -r name file; do
        cp "$file" "$top/pipkin/tests/deps/$name"
        echo "$name"
    done <"$scratch/built" >"$top/pipkin/list"
    echo "${shell:-}" >"$top/pipkin/shell"
    echo "$limit" >"$top/pipkin/limit"
    cp tests/vm/pipkin-tests.service "$top/etc/systemd/system/"
    ln -s ../pipkin-tests.service "$top/etc/systemd/system/multi-user.target.wants/"
    pack "$top" "$scratch/tests.cpio"
}

# Not compressed: to unpack it would take the emulated machine longer than to copy it takes this one.
pack() { (cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null) >"$2.new" && mv "$2.new" "$2"; }

# NAME FILE of every test program asked for.
build_tests() {
    say "building the tests"
    selection=
    for test in $tests; do selection="$selection --test $test"; done
    # shellcheck disable=SC2086
    $cargo test --locked --no-run --workspace $selection --message-format=json >"$scratch/messages" || die "building the tests"
    for test in $tests; do
        file=$(grep '"kind":\["test"\]' "$scratch/messages" | grep "\"name\":\"$test\"" |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | head -n 1)
        [ -n "$file" ] || die "there is no test program $test"
        echo "$test $file"
    done >"$scratch/built"
}

run_machine() {
    cat "$cache/system.cpio" "$scratch/tests.cpio" >"$scratch/initrd"
    # Everything the machine itself says goes to the first serial line; the second carries the tests' words.
    # What the kernel does against faulty processors, and its patience with grace periods, cost an emulated one most of its time.
    # Before it dies, of itself or when it is told to, it tells what all processes do.
    set -- qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 2048 -smp 2 -display none -nic none -no-reboot \
        -kernel "$cache/kernel" -initrd "$scratch/initrd" \
        -append "console=ttyS0 panic=-1 quiet rw apparmor=1 security=apparmor cgroup_no_v1=all systemd.show_status=false mitigations=off rcupdate.rcu_expedited=1 unknown_nmi_panic panic_print=1"
    if [ -n "${shell:-}" ]; then
        exec "$@" -monitor none -serial "file:$scratch/console" -serial mon:stdio
    fi
    : >"$scratch/words"
    mkfifo "$scratch/monitor.in" "$scratch/monitor.out"
    started=$(date +%s)
    code=0
    "$@" -monitor "pipe:$scratch/monitor" -serial "file:$scratch/console" -serial "file:$scratch/words" </dev/null &
    machine=$!
    tail -n +1 -f --pid="$machine" "$scratch/words" &
    # Holds nothing of the caller's open, who may wait for the end of what is said.
    watch_machine >/dev/null 2>&1 </dev/null &
    watch=$!
    wait "$machine" || code=$?
    kill "$watch" 2>/dev/null || true
    wait 2>/dev/null || true
    watch=
    machine=
    say "the machine ran for $(($(date +%s) - started)) seconds"
}

# Ends a machine that hangs; the non-maskable interrupt makes its kernel tell where.
watch_machine() {
    size=0
    heard=$started
    while sleep 2; do
        now=$(date +%s)
        if [ "$(wc -c <"$scratch/words")" != "$size" ]; then
            size=$(wc -c <"$scratch/words")
            heard=$now
        fi
        if [ $((now - started)) -ge "$seconds" ]; then
            echo "no end after $seconds seconds" >"$scratch/timeout"
        elif [ $((now - heard)) -ge "$silence" ]; then
            echo "no word for $silence seconds" >"$scratch/timeout"
        else
            continue
        fi
        echo nmi >"$scratch/monitor.in"
        sleep 20
        kill -KILL "$machine"
        return
    done
}

judge() {
    verdict=$(tr -d '\r' <"$scratch/words" | sed -n 's/^pipkin-vm: exit \([0-9]*\)$/\1/p')
    if [ -z "$verdict" ]; then
        cp "$scratch/console" "$scratch/words" "$cache/"
        tail -n 200 "$scratch/console" >&2
        die "the machine ended without a result ($(cat "$scratch/timeout" 2>/dev/null || echo "qemu's status $code")); all that it said is in $cache/console and $cache/words"
    fi
    # Here is everything that a test can need.
    if grep -q '^SKIPPED' "$scratch/words"; then
        grep '^SKIPPED' "$scratch/words" >&2
        die "skipped in the machine that has everything"
    fi
    if grep -e '^left behind: ' -e '^insmod .* failed' "$scratch/words" >&2; then
        die "left behind in the machine, or missing in it"
    fi
    if [ "$verdict" != 0 ]; then
        cp "$scratch/console" "$scratch/words" "$cache/"
        die "$verdict of the test programs failed; all that the machine said is in $cache/console and $cache/words"
    fi
    say "all is well in the machine"
}

scratch=$(mktemp -d)
watch=
machine=
# shellcheck disable=SC2086
trap '[ -z "$watch$machine" ] || kill $watch $machine 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
if [ "${1:-}" = --shell ]; then
    shell=yes
elif [ "${1:-}" = --all ]; then
    tests="$tests $more"
elif [ $# -gt 0 ]; then
    tests=$*
fi
mkdir -p "$cache"
install_tools
fetch_kernel
make_system
[ -n "${PIPKIN_BIN_DIR:-}" ] || $cargo build --release --locked
$cargo build --locked -p pipkin-probe
build_tests
pack_tests
run_machine
judge
