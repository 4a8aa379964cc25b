#!/bin/sh
# Runs everything that is checked. `make test` calls it; see tests/harness for what the tests themselves do.
#
#   tests/run.sh            format, lints, unit tests, end-to-end tests on the machine's own cgroup layout, on pure cgroup v2, in
#                           a container with systemd, and in an emulated machine with all that this one may lack
#   tests/run.sh e2e        the end-to-end tests alone, without the emulated machine (`make test-vm`)
#   tests/run.sh e2e NAME…  those test files alone, such as runtime_exec
#
# End-to-end tests need root (most of them), Debian's packages below and a private mount namespace.
# Without root only those for an ordinary user run; the others are listed as skipped.
set -eu
cd "$(dirname "$0")/.."
# Programs inherit ignored signals (nohup): tests of signals need all of them as they are by default.
if [ -z "${PIPKIN_TEST_SIGNALS:-}" ]; then
    exec env --default-signal PIPKIN_TEST_SIGNALS=default tests/run.sh "$@"
fi

# As root in a mount namespace of its own: what services and logins mount meanwhile stays away from here, so that all that is new
# here is the tests'. What the machine shares is shared here, too, with nobody else.
if [ "$(id -u)" = 0 ] && [ -z "${PIPKIN_TEST_MOUNTS:-}" ] && unshare --mount true 2>/dev/null; then
    exec env PIPKIN_TEST_MOUNTS="own, were $(findmnt --noheadings --output PROPAGATION /)" \
        unshare --mount --propagation private tests/run.sh "$@"
fi
case ${PIPKIN_TEST_MOUNTS:-} in *shared*) mount --make-rshared / ;; esac

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
# Absolute: tests start the programs from other directories.
case $target in /*) ;; *) target=$PWD/$target ;; esac
triple=$(rustc -vV | sed -n 's/^host: //p')
programs=$target/$triple/release
run=$$
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=
skipped=

began=$(date +%s)
times=

say() { printf '\n== %s\n' "$*"; }

# How long everything took since the last call.
took() {
    now=$(date +%s)
    times="$times$(printf '%5d s  %s' $((now - began)) "$1")
"
    echo "($1: $((now - began)) s)"
    began=$now
}

fail() { printf '\nFAILED: %s\n' "$*" >&2; failed=1; }

# What the tests use from Debian; installed when root and when apt-get is there.
install_tools() {
    missing=
    for pair in busybox:busybox-static newuidmap:uidmap node:nodejs npm:npm setsid:util-linux skopeo:skopeo \
        dumb-init:dumb-init tini:tini catatonit:catatonit gcc:gcc ip:iproute2 iptables:iptables umoci:umoci \
        podman:podman slirp4netns:slirp4netns containerd:containerd dockerd:docker.io runc:runc mmdebstrap:mmdebstrap; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -e /usr/lib/podman/netavark ] || missing="$missing netavark aardvark-dns"
    [ -e /usr/include/seccomp.h ] || missing="$missing libseccomp-dev"
    # The dynamic busybox can not run in a root file system of its own.
    if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
        missing="$missing busybox-static"
    fi
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing what the tests need:$missing"
        apt-get update -q >"$scratch/apt" 2>&1 || cat "$scratch/apt"
        # Somebody else may be installing at this moment.
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
            $missing >"$scratch/apt" 2>&1 && return 0
        cat "$scratch/apt" >&2
    fi
    fail "the tests need these packages, which are not installed:$missing"
}

# A release's CRIU is older than many a kernel. Where it does not work, the next release's, with its libraries, in a
# directory of its own; where that can not be had, tests of it are skipped.
find_criu() {
    criu check >/dev/null 2>&1 && return 0
    place=$target/criu
    if [ ! -x "$place/bin/criu" ] && [ "$(id -u)" = 0 ]; then
        say "fetching a CRIU"
        if timeout 900 mmdebstrap --variant=extract --include=criu trixie "$scratch/criu" >"$scratch/apt" 2>&1; then
            mkdir -p "$place/bin"
            mv "$scratch/criu/usr" "$place/"
            cat >"$place/bin/criu" <<EOF
#!/bin/sh
loader=\$(ls -d "$place"/usr/lib*/ld-linux*.so.? | head -n 1)
exec "\$loader" --library-path "\$(ls -d "$place"/usr/lib/*-linux-gnu)" "$place/usr/sbin/criu" "\$@"
EOF
            chmod 755 "$place/bin/criu"
        else
            tail -n 3 "$scratch/apt"
        fi
    fi
    PATH=$place/bin:$PATH
    criu check >"$scratch/apt" 2>&1 || { echo "no CRIU that works here:"; cat "$scratch/apt"; }
}

# Everything on the machine that a container could leave behind, one fact a line.
machine() {
    # Mounts, without the numbers that differ from namespace to namespace.
    cut -d' ' -f5 /proc/self/mountinfo | sed 's/^/mount /'
    find /sys/fs/cgroup -type d 2>/dev/null | sed 's/^/cgroup /'
    for place in /run/pipkin /run/pipkin-runtime /var/lib/pipkin; do
        [ -e "$place" ] && find "$place" -mindepth 1 -maxdepth 3 2>/dev/null | sed 's/^/file /'
    done | without_kept_filters
    find "${TMPDIR:-/tmp}" -maxdepth 1 \( -name 'pkt-*' -o -name 'pipkin*' \) | sed 's/^/file /'
    for process in $(processes); do
        # A network namespace lives as long as a process is in it, or a mount holds it.
        namespace=$(readlink "$process/ns/net") && echo "netns $namespace"
        case $(readlink "$process/exe") in
        */pipkin | */pipkin-* | */bin/probe | *'memfd:pipkin'*) echo "process ${process#/proc/} $(tr '\0' ' ' <"$process/cmdline")" ;;
        esac
    done 2>/dev/null
}

# The processes (/proc/PID) but those of services, sessions and the like that are others' than this one's: units of systemd.
# What the tests leave is in the cgroup in which they run, below it, or in one that they have made.
processes() {
    {
        sed 's/^[^:]*:[^:]*:/own /' /proc/self/cgroup
        grep -s -H -e '^0::' -e ':name=systemd:' /proc/[0-9]*/cgroup
    } | awk '
        $1 == "own" { own[substr($0, 5)] = 1; next }
        {
            match($0, "/cgroup:[^:]*:[^:]*:")
            process = substr($0, 1, RSTART - 1); cgroup = substr($0, RSTART + RLENGTH)
            if (!(process in seen)) { seen[process] = 1; order[++count] = process }
            if (cgroup !~ /\.(service|scope|slice)(\/|$)/ || cgroup ~ /pkt-/) next
            for (mine in own) if (mine != "/" && index(cgroup "/", mine "/") == 1) next
            foreign[process] = 1
        }
        END { for (i = 1; i <= count; i++) if (!(order[i] in foreign)) print order[i] }'
}

# The cache of seccomp filters stays, as long as there is nothing in it but entries.
without_kept_filters() {
    grep -v -E -x -e 'file /run/pipkin(-runtime)?/@seccomp(/[0-9a-f]{16})?' || true
}

# Of new facts (stdin) all but the cgroups that somebody else has made meanwhile, such as a service or a login: the tests make
# theirs at the top of a hierarchy or below their own, and name none as systemd names its units but their own scopes.
without_foreign_cgroups() {
    {
        awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print "mount", $5 }' /proc/self/mountinfo
        sed 's/^[^:]*:[^:]*:/own /' /proc/self/cgroup
        sed 's/^cgroup /before /' "$scratch/before"
        sed 's/^/new /'
    } | awk '
        { fact = $1; rest = substr($0, length(fact) + 2) }
        fact == "mount" { ours[rest] = 1 }
        fact == "own" { for (mount in ours) own[mount (rest == "/" ? "" : rest)] = 1 }
        fact == "before" { before[rest] = 1 }
        fact == "new" && rest !~ /^cgroup / { print rest }
        fact == "new" && rest ~ /^cgroup / {
            if (rest ~ /pkt-/) { print rest; next }
            parent = substr(rest, 8)
            do { name = parent; sub("/[^/]*$", "", parent) } while (!(parent in before) && parent != "")
            if (parent in ours ? name !~ /\.(service|scope|slice)$/ : parent in own) print rest
        }'
}

# Compares the machine with how it was. Others may work on it at the same time (PIPKIN_TEST_SHARED_MACHINE=1): then only what
# carries this run's name counts. What has been ended may take a moment longer to be gone than who ended it.
check_leaks() {
    for _ in $(seq 100); do
        machine | sort -u >"$scratch/after"
        comm -13 "$scratch/before" "$scratch/after" | without_foreign_cgroups >"$scratch/leaks"
        if [ -n "${PIPKIN_TEST_SHARED_MACHINE:-}" ]; then
            grep -e "pkt-$run-" "$scratch/leaks" >"$scratch/own" || true
            mv "$scratch/own" "$scratch/leaks"
        fi
        [ -s "$scratch/leaks" ] || { echo "nothing left behind"; return 0; }
        sleep 0.3
    done
    cat "$scratch/leaks"
    fail "left behind after the $1 round"
}

# Names of the skipped tests that are not in the list of known ones.
check_skips() {
    sed -n 's/^SKIPPED \([^:]*\): .*/\1/p' "$scratch/log" | sort -u >"$scratch/skipped"
    sed -n "s/^$1 //p" tests/known-skips.txt | sort -u >"$scratch/known"
    comm -23 "$scratch/skipped" "$scratch/known" >"$scratch/unknown"
    echo "$(wc -l <"$scratch/skipped") skipped in the $1 round"
    [ -s "$scratch/unknown" ] || return 0
    cat "$scratch/unknown"
    if [ "$(id -u)" = 0 ]; then
        fail "skipped and not in tests/known-skips.txt"
    else
        echo "(not root: the tests above need it)"
    fi
}

# One round of end-to-end tests: VIEW, then a command to put in front.
round() {
    view=$1
    shift
    say "end-to-end tests, cgroup layout: $view"
    machine | sort -u >"$scratch/before"
    code=$scratch/code
    # shellcheck disable=SC2086
    {
        set -f
        PIPKIN_BIN_DIR=$programs PIPKIN_TEST_VIEW=$view PIPKIN_TEST_RUN=$run \
            "$@" $cargo test --locked --no-fail-fast --workspace $tests 2>&1 || echo 1 >"$code"
    } | tee "$scratch/log"
    [ -e "$code" ] && fail "end-to-end tests, cgroup layout: $view"
    rm -f "$code"
    check_skips "$view"
    check_leaks "$view"
    took "end-to-end tests, cgroup layout: $view"
}

# The systemd driver, where systemd is.
systemd_round() {
    case " $tests " in *" * "* | *" runtime_systemd "*) ;; *) return 0 ;; esac
    say "end-to-end tests in a container with systemd"
    machine | sort -u >"$scratch/before"
    { PIPKIN_BIN_DIR=$programs PIPKIN_TEST_RUN=$run CARGO="$cargo" tests/systemd/run.sh 2>&1 || echo $? >"$scratch/code"; } |
        tee "$scratch/log"
    code=$(cat "$scratch/code" 2>/dev/null || echo 0)
    rm -f "$scratch/code"
    case $code in
    0) ;;
    77) skipped="$skipped
SKIPPED the tests in a container with systemd: there is no Debian to make it of" ;;
    *) fail "tests in a container with systemd" ;;
    esac
    check_skips systemd
    check_leaks systemd
    took "end-to-end tests in a container with systemd"
}

# What needs more than this machine has. Its network, mounts and cgroups are its own.
vm_round() {
    say "pure cgroup v2 with all controllers, systemd and AppArmor, in an emulated machine"
    code=0
    PIPKIN_BIN_DIR=$programs CARGO="$cargo" tests/vm/run.sh || code=$?
    case $code in
    0) ;;
    77) skipped="$skipped
SKIPPED the emulated machine: see above why there is none here" ;;
    *) fail "the emulated machine" ;;
    esac
    took "the emulated machine"
}

e2e() {
    install_tools
    find_criu
    say "building the programs"
    # What is tested is what is shipped; the probe is only a tool, for which minutes of link-time optimization would be wasted.
    $cargo build --release --locked
    $cargo build --locked -p pipkin-probe
    took "tools and programs"
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        round v2
        [ "$(id -u)" != 0 ] || systemd_round
        return
    fi
    round hybrid
    if [ "$(id -u)" = 0 ]; then
        # A private view of the same machine, as if it had cgroup2 and nothing else.
        round v2 unshare --mount sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' view
        systemd_round
    else
        echo "(not root: no round on pure cgroup v2)"
    fi
}

tests="--test *" # cargo's pattern: all of them
if [ "${1:-}" = e2e ]; then
    shift
    [ $# = 0 ] || tests=$(printf -- '--test %s ' "$@")
    e2e
else
    say "format"
    $cargo fmt --all --check || fail "cargo fmt --all would change something"
    say "lints"
    $cargo clippy --locked --workspace --all-targets -- -D warnings || fail "clippy"
    took "format and lints"
    say "unit tests"
    # Not --bins: the programs without a C library can not hold std's test runner; all of their code is in the library.
    $cargo test --locked --workspace --lib || fail "unit tests"
    took "unit tests"
    e2e
    vm_round
fi

say "how long it took"
printf '%s' "$times"
[ -z "$skipped" ] || printf '%s\n' "$skipped"
[ -z "$failed" ] || { printf '\nFAILED\n' >&2; exit 1; }
if [ -z "$skipped" ]; then say "all is well"; else say "all is well but for what was SKIPPED"; fi
