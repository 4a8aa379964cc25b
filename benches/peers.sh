#!/bin/sh
# Installs the peers of the benchmarks that Debian has, as root where apt-get is. `make bench` calls it; those that are not there
# afterwards are left out, which the benchmarks say.
set -eu

missing=
for pair in runc:runc bwrap:bubblewrap umoci:umoci skopeo:skopeo podman:podman dumb-init:dumb-init tini:tini catatonit:catatonit \
    busybox:busybox-static; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and left out:$missing"
    exit 0
fi
echo "installing what pipkin is measured against:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A mirror that is down is no reason to measure nothing.
apt-get update -q >"$log" 2>&1 || cat "$log"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >"$log" 2>&1 ||
    { tail -n 5 "$log"; echo "left out, where it is not there:$missing"; }
