#!/bin/sh
# Runs the tests of the systemd driver in a container whose first process is systemd: real scopes, over real buses, without
# a machine of their own. The container itself is podman's, by pipkin-runtime. tests/run.sh calls it, as root.
#
#   tests/systemd/run.sh         the test program runtime_systemd
#   tests/systemd/run.sh CMD…    anything else in that container, such as `systemctl status`
#
# Checkpoints are made by the CRIU that tests/run.sh has fetched, if it had to.
#
# Everything happens in mount and network namespaces that end with it, on a view of cgroup version 2 alone: a privileged
# systemd would change the machine's other hierarchies. Where these are version 1, version 2 has hardly any controller, and
# the tests leave such limits out; `make test-vm` has them all. Debian is fetched once and kept below the target directory;
# the exit status is that of the tests, or 77 when it can not be fetched.
set -eu
cd "$(dirname "$0")/../.."

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
triple=$(rustc -vV | sed -n 's/^host: //p')
programs=${PIPKIN_BIN_DIR:-$target/$triple/release}
packages=busybox-static,dbus,dbus-user-session,libpam-systemd,procps,systemd,systemd-sysv,uidmap,util-linux
root=$target/systemd

. tests/fetch.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

if [ "$(cat "$root/of" 2>/dev/null)" != "$packages" ]; then
    printf '\n== making a Debian of %s\n' "$packages"
    made=0
    timeout 900 mmdebstrap --variant=essential --include="$packages" --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Retries "3"' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$scratch/root" >"$scratch/log" 2>&1 || made=$?
    if [ $made != 0 ]; then
        cat "$scratch/log" >&2
        ! had_no_network $made "$scratch/log" || exit 77
        exit 1
    fi
    rm -rf "$scratch"/root/var/cache/* "$scratch"/root/var/lib/apt "$root"
    mkdir -p "$root"
    # A container inherits no name of a machine: with one systemd asks nobody.
    echo pipkin-systemd >"$scratch/root/etc/hostname"
    mv "$scratch/root" "$root/root"
    echo "$packages" >"$root/of"
fi

if [ $# = 0 ]; then
    $cargo test --locked --no-run --test runtime_systemd --message-format=json >"$scratch/messages"
    program=$(grep '"kind":\["test"\]' "$scratch/messages" | sed -n 's/.*"executable":"\([^"]*runtime_systemd[^"]*\)".*/\1/p')
    set -- "$program" --test-threads 2
fi

# root's podman asks for limits that not every machine lets it have, and for a controller that is not there.
printf '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\npids_limit = 0\n[network]\nnetwork_backend="netavark"\n' \
    >"$scratch/containers.conf"
cat >"$scratch/inside" <<'E2'
set -eu
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
podman() {
    CONTAINERS_CONF=$scratch/containers.conf command podman --root "$scratch/storage" --runroot "$scratch/run" --tmpdir "$scratch/tmp" \
        --runtime "$programs/pipkin-runtime" --cgroup-manager cgroupfs --events-backend file "$@"
}
name=pipkin-systemd-$$
clean_up() {
    podman rm --force --time 0 "$name" >/dev/null
    # podman leaves what its monitor was in, which is there for a moment longer; other podmen may use it, too.
    for _ in $(seq 50); do
        rmdir /sys/fs/cgroup/libpod_parent/conmon /sys/fs/cgroup/libpod_parent 2>/dev/null || true
        [ -e /sys/fs/cgroup/libpod_parent ] || break
        sleep 0.1
    done
}
trap clean_up EXIT
podman run --detach --name "$name" --systemd=always --privileged --network none --cgroupns private \
    --volume "$PWD:$PWD:ro" --volume "$target:$target:ro" --volume "$programs:$programs:ro" \
    --rootfs "$root/root:O" /lib/systemd/systemd >/dev/null
in_it() { podman exec --workdir "$PWD" --env PATH="$target/criu/bin:/usr/sbin:/usr/bin:/sbin:/bin" --env HOME=/root "$@"; }
# The first answer comes when there is a bus; then systemctl waits itself.
tries=0
until in_it "$name" systemctl is-system-running --wait 2>"$scratch/bus" | grep -q -e running -e degraded; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$scratch/bus"; podman logs "$name"; exit 1; }
    sleep 0.1
done
in_it "$name" sh -c 'useradd --create-home pipkin-test && loginctl enable-linger pipkin-test && systemctl start "user@$(id -u pipkin-test)"'
in_it --env PIPKIN_BIN_DIR="$programs" --env PIPKIN_TEST_VIEW=v2 --env PIPKIN_TEST_RUN="${PIPKIN_TEST_RUN:-systemd}" "$name" "$@"
E2
scratch=$scratch root=$root target=$target programs=$programs timeout --kill-after 10 "${PIPKIN_SYSTEMD_SECONDS:-300}" \
    unshare --net --mount --propagation private sh "$scratch/inside" "$@"
