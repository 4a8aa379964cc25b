# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pipkin_runtime_global_optspecs
    string join \n root= log= log-format= trace-boot= log-level= debug systemd-cgroup cgroup-manager= rootless= criu= h/help V/version
end

function __fish_pipkin_runtime_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pipkin_runtime_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pipkin_runtime_using_subcommand
    set -l cmd (__fish_pipkin_runtime_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l root -d 'Where the containers\' states are kept' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l log -d 'Write warnings and errors to this file, too; or to the machine\'s log: journald:NAME, syslog:NAME' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l log-format -d 'How they are written' -r -f -a "text\t'`time="…" level=error msg="…"`'
json\t'One object a line; what engines read'"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l trace-boot -d 'Write how long each step took there, for chrome://tracing or Perfetto' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l log-level -d 'What is written: this and what is worse' -r -f -a "error\t'What ended the command'
warning\t'Also what a person should know although it went on'
debug\t'Also what is done; `--debug` is the same'"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l cgroup-manager -d 'Who makes the cgroups; "disabled": containers stay in the caller\'s' -r -f -a "cgroupfs\t'The runtime, by the file system'
systemd\t'systemd, asked over D-Bus'
disabled\t'Nobody: containers stay in the caller\'s cgroup'"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l rootless -d 'Whether a container goes without a cgroup where it may not have one: true, false, or auto, unless root calls' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l criu -d 'The program for checkpoint and restore' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l debug -d 'Tell more: as --log-level debug'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -l systemd-cgroup -d 'Let systemd make the cgroups; linux.cgroupsPath is then SLICE:PREFIX:NAME'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -s V -l version -d 'Print version'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "checkpoint" -d 'Write a running container to images with CRIU, and end it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "create" -d 'Make a container; its program waits for `start`'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "delete" -d 'Remove a container that has stopped or was never started'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "events" -d 'Print what a container uses, and when the kernel kills for want of memory, as JSON'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "exec" -d 'Run one more program in a running container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "features" -d 'Print what this runtime can do, as JSON (features.md of the runtime spec)'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "kill" -d 'Send a signal to a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "list" -d 'List the containers'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "pause" -d 'Freeze all processes of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "plan" -d 'Show what `create` would do, in order, without doing it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "ps" -d 'Show the processes of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "restore" -d 'Make a container from images of `checkpoint`, and let it go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "resume" -d 'Let a paused container go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "run" -d 'Make a container, start it, wait for its end and remove it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "spec" -d 'Write a config.json to start from'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "start" -d 'Start the program of a created container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "state" -d 'Print a container\'s state as JSON'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "update" -d 'Change the limits of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l image-path -d 'The directory of the images' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l work-path -d 'Where CRIU writes its log, if not there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l manage-cgroups-mode -d 'What happens to properties of cgroups' -r -f -a "soft\t'They are restored where CRIU makes the cgroup'
full\t'They are restored always'
strict\t'Restored, and the cgroups must not be there before'
ignore\t'Cgroups are no business of CRIU\'s'"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l empty-ns -d 'Restore this namespace empty' -r -f -a "network\t''"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l parent-path -d 'The images of an earlier --pre-dump, relative to --image-path' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l status-fd -d 'A descriptor that gets a zero byte when --lazy-pages can be asked for' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l page-server -d 'Send memory there, to `criu page-server`' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l tcp-established -d 'Keep open TCP connections'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l ext-unix-sk -d 'Allow Unix sockets that lead outside of the container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l shell-job -d 'Allow the container\'s session and terminal to be those of a shell'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l lazy-pages -d 'Memory stays behind and is fetched when it is touched'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l file-locks -d 'Keep file locks'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l auto-dedup -d 'Free memory images that have been used, or are the same as their parents\''
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l leave-running -d 'Let the container go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l tcp-skip-in-flight -d 'Leave out TCP connections that are being made'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l link-remap -d 'Give files that are open but have no name any more one'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -l pre-dump -d 'Write the memory alone, and let the container go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand checkpoint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -s b -l bundle -d 'The directory with config.json' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l console-socket -d 'A Unix socket that gets the master side of the container\'s terminal' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l pid-file -d 'Write the process\'s number there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l preserve-fds -d 'Pass so many descriptors from 3 on to the program' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l pidfd-socket -d 'A Unix socket that gets the descriptor of the container\'s first process' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l no-pivot -d 'Move the root file system over the host\'s instead of pivot_root(2); for a host that runs from an initramfs'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -l no-new-keyring -d 'Let the container have the caller\'s session keyring'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand create" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand delete" -s f -l force -d 'Kill it if it runs; remove what there is of it even if it is only half made; none is fine, too'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand delete" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand events" -l interval -d 'How often the figures are printed, such as 500ms, 5s or 2m' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand events" -l stats -d 'Print the figures once'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand events" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l console-socket -d 'A Unix socket that gets the master side of the program\'s terminal' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l cwd -d 'The program\'s working directory' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s e -l env -d 'Add a variable to the environment' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s u -l user -d 'Who the program is: numbers, UID or UID:GID' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s g -l additional-gids -d 'More supplementary groups' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s p -l process -d 'Take the program from a file with the spec\'s process object' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l pid-file -d 'Write the process\'s number there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l process-label -d 'The program\'s SELinux label' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l apparmor -d 'The program\'s AppArmor profile' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s c -l cap -d 'Add a capability' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l preserve-fds -d 'Pass so many descriptors from 3 on to the program' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l cgroup -d 'A cgroup below the container\'s, which must exist; on version 1 also one for each controller' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l pidfd-socket -d 'A Unix socket that gets the descriptor of the program\'s process' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s t -l tty -d 'Give the program a terminal'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s d -l detach -d 'Do not wait for the program\'s end'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l no-new-privs -d 'Set no_new_privs'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -l ignore-paused -d 'Also into a paused container; the program begins when that is resumed'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand exec" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand features" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand kill" -s a -l all -d 'To all processes of the container, not just the first'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand kill" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand list" -s f -l format -d 'How to print them' -r -f -a "table\t''
json\t''"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand list" -s q -l quiet -d 'Just the names'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand list" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand pause" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand plan" -s b -l bundle -d 'The directory with config.json' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand plan" -s f -l format -d 'How to print it' -r -f -a "text\t''
json\t''"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand ps" -s f -l format -d 'How to print them' -r -f -a "table\t''
json\t''"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand ps" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l image-path -d 'The directory of the images' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l work-path -d 'Where CRIU writes its log, if not there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l manage-cgroups-mode -d 'What happens to properties of cgroups' -r -f -a "soft\t'They are restored where CRIU makes the cgroup'
full\t'They are restored always'
strict\t'Restored, and the cgroups must not be there before'
ignore\t'Cgroups are no business of CRIU\'s'"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l empty-ns -d 'Restore this namespace empty' -r -f -a "network\t''"
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -s b -l bundle -d 'The directory with config.json' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l console-socket -d 'A Unix socket that gets the master side of the container\'s terminal' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l pid-file -d 'Write the process\'s number there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l lsm-profile -d 'Another AppArmor or SELinux profile for the container\'s processes' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l lsm-mount-context -d 'Another SELinux context for the container\'s mounts' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l tcp-established -d 'Keep open TCP connections'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l ext-unix-sk -d 'Allow Unix sockets that lead outside of the container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l shell-job -d 'Allow the container\'s session and terminal to be those of a shell'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l lazy-pages -d 'Memory stays behind and is fetched when it is touched'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l file-locks -d 'Keep file locks'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l auto-dedup -d 'Free memory images that have been used, or are the same as their parents\''
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -s d -l detach -d 'Do not wait for the end'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l no-subreaper -d 'Do not wait for the container\'s processes whose parents have ended; whoever started this command gets them'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -l no-pivot -d 'For runc\'s callers; refused, because CRIU restores the mounts as they were'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand resume" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -s b -l bundle -d 'The directory with config.json' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l console-socket -d 'A Unix socket that gets the master side of the container\'s terminal' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l pid-file -d 'Write the process\'s number there' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l preserve-fds -d 'Pass so many descriptors from 3 on to the program' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l pidfd-socket -d 'A Unix socket that gets the descriptor of the container\'s first process' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l no-pivot -d 'Move the root file system over the host\'s instead of pivot_root(2); for a host that runs from an initramfs'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l no-new-keyring -d 'Let the container have the caller\'s session keyring'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -s d -l detach -d 'Do not wait for the end'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l keep -d 'Do not remove the container when its program ends; `delete` does later'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -l no-subreaper -d 'Do not wait for the container\'s processes whose parents have ended; whoever started this command gets them'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand run" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand spec" -s b -l bundle -d 'The directory to write it to' -r -F
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand spec" -l rootless -d 'For an ordinary user: with a user namespace that maps only this user'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand spec" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand start" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand state" -s h -l help -d 'Print help'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -s r -l resources -d 'Take the limits from a file with the spec\'s linux.resources object, or from standard input with "-"' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l memory -d 'Memory' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l memory-reservation -d 'Memory below which nothing is taken away' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l memory-swap -d 'Memory and swap together' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-period -d 'Length of the quota\'s period in microseconds' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-quota -d 'Processor time in each period in microseconds' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-burst -d 'Processor time that may be saved up in microseconds' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-share -d 'Weight against other containers (2 to 262144)' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-rt-period -d 'Length of the real-time period in microseconds' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-rt-runtime -d 'Real-time processor time in each period in microseconds' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpu-idle -d '1: runs only when nobody else wants to' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpuset-cpus -d 'Processors, such as 0-2,4' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l cpuset-mems -d 'Memory nodes, such as 0-1' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l pids-limit -d 'Processes and threads' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l blkio-weight -d 'Weight on block devices (10 to 1000)' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l l3-cache-schema -d 'Shares of the level 3 cache, such as L3:0=f;1=f0, where linux.intelRdt has given the container a group' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -l mem-bw-schema -d 'Shares of memory bandwidth, such as MB:0=50;1=20' -r
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "checkpoint" -d 'Write a running container to images with CRIU, and end it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "create" -d 'Make a container; its program waits for `start`'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "delete" -d 'Remove a container that has stopped or was never started'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "events" -d 'Print what a container uses, and when the kernel kills for want of memory, as JSON'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "exec" -d 'Run one more program in a running container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "features" -d 'Print what this runtime can do, as JSON (features.md of the runtime spec)'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "kill" -d 'Send a signal to a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "list" -d 'List the containers'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "pause" -d 'Freeze all processes of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "plan" -d 'Show what `create` would do, in order, without doing it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "ps" -d 'Show the processes of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "restore" -d 'Make a container from images of `checkpoint`, and let it go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "resume" -d 'Let a paused container go on'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "run" -d 'Make a container, start it, wait for its end and remove it'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "spec" -d 'Write a config.json to start from'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "start" -d 'Start the program of a created container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "state" -d 'Print a container\'s state as JSON'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "update" -d 'Change the limits of a container'
complete -c pipkin-runtime -n "__fish_pipkin_runtime_using_subcommand help; and not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause plan ps restore resume run spec start state update help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
