#!/bin/sh
# Turns this machine's node into an image with the example in it. Offline: nothing is downloaded.
#
#   build-image.sh [NAME]       makes the image NAME (default: node-example) in pipkin's store
#   build-image.sh --tree DIR   makes the root file system in DIR, and no image
#
# PIPKIN names the program to import with; default: the one on PATH, else the one that was built in this repository.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

need() { command -v "$1" >/dev/null || { echo "build-image.sh: $1 is not installed (Debian: apt install $2)" >&2; exit 1; }; }
need node nodejs
need npm npm
need busybox busybox-static

# A file at the same place in the tree; what it links to comes along as a file.
place() { mkdir -p "$2$(dirname "$1")" && cp -L "$1" "$2$1"; }

make_tree() {
    tree=$1
    mkdir -p "$tree/bin" "$tree/app" "$tree/dev" "$tree/etc" "$tree/proc" "$tree/root" "$tree/run" "$tree/sys" "$tree/tmp" \
        "$tree/usr/bin"
    chmod 1777 "$tree/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'node:x:1000:1000::/app:/bin/sh' >>"$tree/etc/passwd"
    printf 'root:x:0:\nnode:x:1000:\n' >"$tree/etc/group"

    # node, and every library that the loader would take for it.
    node=$(readlink -f "$(command -v node)")
    place "$node" "$tree"
    [ "$node" = /usr/bin/node ] || ln -s "$node" "$tree/usr/bin/node"
    ldd "$node" | grep -o '/[^ ]*' | while read -r library; do place "$library" "$tree"; done

    # npm is a directory of JavaScript: its own (from nodejs.org) or shared with other packages (Debian's).
    npm=$(readlink -f "$(command -v npm)")
    case $npm in
    /usr/share/nodejs/*) modules=/usr/share/nodejs ;;
    *) modules=${npm%/bin/npm-cli.js} ;;
    esac
    mkdir -p "$tree$(dirname "$modules")"
    cp -a "$modules" "$tree$(dirname "$modules")/"
    [ "$npm" = /usr/bin/npm ] || ln -s "$npm" "$tree/usr/bin/npm"

    cp "$(command -v busybox)" "$tree/bin/busybox"
    for applet in sh ls cat env ps sleep true wget; do ln -sf busybox "$tree/bin/$applet"; done
    ln -sf /bin/env "$tree/usr/bin/env"
    cp "$here/server.js" "$here/package.json" "$tree/app/"
}

if [ "${1:-}" = --tree ]; then
    make_tree "${2:?build-image.sh --tree DIR}"
    exit
fi

built=$here/../../target/$(uname -m)-unknown-linux-gnu/release/pipkin
pipkin=${PIPKIN:-$(command -v pipkin || echo "$built")}
[ -x "$(command -v "$pipkin")" ] || { echo "build-image.sh: no pipkin on PATH nor in target/: make build" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
make_tree "$scratch"
"$pipkin" import "$scratch" "${1:-node-example}" --cmd '["node", "server.js"]' --workdir /app \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env NODE_ENV=production
