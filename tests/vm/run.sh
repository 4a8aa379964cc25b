#!/bin/sh
# Runs the tests that need more than this machine has: pure cgroup v2 with every controller, systemd on a system and a user
# bus, AppArmor, all capabilities. `make test-vm` calls it.
#
#   tests/vm/run.sh              all of them
#   tests/vm/run.sh --all        also those that run everywhere, on this other kernel
#   tests/vm/run.sh NAME…        those test programs alone, such as runtime_lsm
#   tests/vm/run.sh --shell      no tests: a shell on the machine's console; `exit` ends it
#
# The machine is QEMU, emulated (no /dev/kvm is needed), with Debian's kernel for clouds and a Debian of a few packages as
# its first and only file system, in memory. Both are fetched once and kept below the target directory. Root is needed to
# install missing tools, not to run. The exit status is that of the tests; a machine that says nothing any more fails them.
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
seconds=${PIPKIN_VM_SECONDS:-900}
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

install_tools() {
    missing=
    for pair in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap busybox:busybox-static; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -z "$missing" ] && return 0
    say "installing what the machine needs:$missing"
    # shellcheck disable=SC2086
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } \
        >"$scratch/apt" 2>&1 || { cat "$scratch/apt" >&2; die "these packages are needed:$missing"; }
}

# The newest kernel for clouds of this machine's Debian: $cache/kernel and $cache/modules.
fetch_kernel() {
    [ "$(cat "$cache/kernel.of" 2>/dev/null)" = "$modules" ] && return 0
    say "fetching a kernel"
    dependency() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
    [ -n "$(dependency)" ] || apt-get update -q >/dev/null || die "apt-get update"
    package=$(dependency)
    [ -n "$package" ] || die "no package linux-image-cloud-amd64 in this machine's sources"
    mkdir "$scratch/kernel"
    # apt's unprivileged user can not write to root's directories; what it then says is no error.
    (cd "$scratch/kernel" && apt-get download -q "$package" 2>"$scratch/apt" && dpkg-deb -x ./*.deb .) ||
        { cat "$scratch/apt" >&2; die "fetching $package"; }
    mkdir -p "$cache/modules"
    for module in $modules; do
        cp "$scratch"/kernel/lib/modules/*/kernel/"$module".ko "$cache/modules/"
    done
    mv "$scratch"/kernel/boot/vmlinuz-* "$cache/kernel"
    echo "$modules" >"$cache/kernel.of"
}

# Debian, packed: $cache/system.cpio. Made again when the list of packages changes.
make_system() {
    wanted="$suite $packages $(sed -n "/^make_system/,/^}/p" tests/vm/run.sh | cksum)"
    [ "$(cat "$cache/system.of" 2>/dev/null)" = "$wanted" ] && return 0
    say "making a Debian of $packages"
    root=$scratch/root
    # What only a person reads, or a package manager needs, would be unpacked at every boot.
    mmdebstrap --variant=essential --include="$packages" --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
        "$suite" "$root" >"$scratch/mmdebstrap" 2>&1 || { cat "$scratch/mmdebstrap" >&2; die "mmdebstrap"; }
    rm -rf "$root"/var/cache/* "$root"/var/lib/apt "$root"/var/lib/dpkg/info "$root"/usr/lib/*/gconv "$root"/usr/lib/*/perl-base \
        "$root"/usr/share/perl* "$root"/usr/share/bash-completion "$root"/lib/udev/hwdb* "$root"/usr/lib/udev/hwdb*
    # pivot_root(2) refuses the kernel's first root; the same directory, mounted over itself, is another one.
    printf '#!/bin/busybox sh\nbusybox mount --bind / /mnt && cd /mnt && busybox mount --move . / && exec busybox chroot . /lib/systemd/systemd\n' \
        >"$root/init"
    chmod 755 "$root/init"
    # Nobody logs in, nothing is on a network, no disk is there to be checked.
    for unit in getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
        systemd-timesyncd.service systemd-networkd.service systemd-resolved.service systemd-update-utmp.service \
        systemd-journal-flush.service systemd-pcrphase.service systemd-pcrphase-sysinit.service apparmor.service e2scrub_reap.service; do
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
    set -- qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 2048 -smp 2 -display none -monitor none -nic none -no-reboot \
        -kernel "$cache/kernel" -initrd "$scratch/initrd" \
        -append "console=ttyS0 panic=-1 quiet rw apparmor=1 security=apparmor cgroup_no_v1=all systemd.show_status=false mitigations=off rcupdate.rcu_expedited=1"
    if [ -n "${shell:-}" ]; then
        exec "$@" -serial "file:$scratch/console" -serial mon:stdio
    fi
    : >"$scratch/words"
    started=$(date +%s)
    code=0
    "$@" -serial "file:$scratch/console" -serial "file:$scratch/words" &
    machine=$!
    tail -n +1 -f --pid="$machine" "$scratch/words" &
    (sleep "$seconds"; kill "$machine" 2>/dev/null && echo "no end after $seconds seconds" >"$scratch/timeout") &
    watch=$!
    wait "$machine" || code=$?
    kill "$watch" 2>/dev/null || true
    wait 2>/dev/null || true
    watch=
    machine=
    say "the machine ran for $(($(date +%s) - started)) seconds"
}

judge() {
    verdict=$(tr -d '\r' <"$scratch/words" | sed -n 's/^pipkin-vm: exit \([0-9]*\)$/\1/p')
    if [ -z "$verdict" ]; then
        tail -n 40 "$scratch/console" >&2
        die "the machine ended without a result ($(cat "$scratch/timeout" 2>/dev/null || echo "qemu's status $code"))"
    fi
    # Here is everything that a test can need.
    if grep -q '^SKIPPED' "$scratch/words"; then
        grep '^SKIPPED' "$scratch/words" >&2
        die "skipped in the machine that has everything"
    fi
    [ "$verdict" = 0 ] || die "$verdict of the test programs failed"
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
