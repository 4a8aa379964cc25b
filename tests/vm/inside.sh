#!/bin/sh
# Runs in the machine that run.sh starts, as root, from pipkin-tests.service. What it says goes to the second serial line.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PIPKIN_BIN_DIR=/pipkin/bin PIPKIN_TEST_VIEW=v2 PIPKIN_TEST_COMPLETE=1 PIPKIN_TEST_RUN=vm RUST_BACKTRACE=1
# Twice: one may need another that comes after it.
for pass in first second; do
    for module in /pipkin/modules/*.ko; do
        name=$(basename "$module" .ko)
        [ -d "/sys/module/$name" ] || busybox insmod "$module" 2>/dev/null || [ $pass = first ] || echo "insmod $module failed"
    done
done
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -o remount,size=1g /tmp 2>/dev/null || mount -t tmpfs -o size=1g tmpfs /tmp
# systemd enables only the controllers that some unit uses; what is made beside it may use all.
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
useradd --create-home pipkin-test
loginctl enable-linger pipkin-test
systemctl start "user@$(id -u pipkin-test).service"
echo "pipkin-vm: Linux $(uname -r), $(systemctl --version | head -n 1), $(cat /sys/kernel/security/lsm)"
echo "pipkin-vm: ready after $(cut -d ' ' -f 1 /proc/uptime) s"
echo "pipkin-vm: controllers $(cat /sys/fs/cgroup/cgroup.controllers)"

if [ "$(cat /pipkin/shell)" = yes ]; then
    cd /pipkin && setsid -c sh -i </dev/ttyS1 >/dev/ttyS1 2>&1
    systemctl poweroff -ff
fi

# What every process does, and where in the kernel it waits.
what_stands_still() {
    for process in /proc/[0-9]*; do
        # Those of the kernel have none.
        [ -n "$(tr -d '\0' <"$process/cmdline" 2>/dev/null)" ] || continue
        for thread in "$process"/task/*; do
            echo "-- ${thread#/proc/} $(cat "$thread/comm" 2>/dev/null), $(sed -n 's/^State:\t//p' "$thread/status" 2>/dev/null)," \
                "cgroup $(tail -n 1 "$process/cgroup" 2>/dev/null), system call $(cat "$thread/syscall" 2>/dev/null)"
            sed 's/^/   /' "$thread/stack" 2>/dev/null
        done
    done
}

failed=0
for name in $(cat /pipkin/list); do
    begin=$(date +%s)
    echo "pipkin-vm: $name"
    "/pipkin/tests/deps/$name" --test-threads 2 2>&1 &
    test=$!
    (
        sleep "$(cat /pipkin/limit)"
        echo "pipkin-vm: $name does not end"
        what_stands_still
        kill -KILL "$test"
    ) &
    watch=$!
    wait "$test" || failed=$((failed + 1))
    kill "$watch" 2>/dev/null
    echo "pipkin-vm: $name took $(($(date +%s) - begin)) s"
done
left_behind() { find /sys/fs/cgroup -type d -name '*pkt-*' -o -type d -name '*pipkin-test-*'; }
# What has been ended may take a moment longer to be gone.
for _ in $(seq 100); do
    [ -n "$(left_behind)" ] || break
    sleep 0.3
done
left_behind | sed 's/^/left behind: /'
echo "pipkin-vm: exit $failed"
systemctl poweroff -ff
