# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pipkin_global_optspecs
    string join \n root= h/help V/version
end

function __fish_pipkin_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pipkin_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pipkin_using_subcommand
    set -l cmd (__fish_pipkin_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pipkin -n "__fish_pipkin_needs_command" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_needs_command" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_needs_command" -s V -l version -d 'Print version'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "run" -d 'Run a program in a new container of an image, in the foreground'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "ps" -d 'List containers'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "rm" -d 'Remove containers with everything they wrote'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "load" -d 'Bring an image from a file or directory into the store'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "import" -d 'Turn a directory or a plain tar archive into an image of one layer'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "images" -d 'List the images in the store'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "rmi" -d 'Remove images; layers that other images share stay'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "bench" -d 'Measure OCI runtimes on this machine'
complete -c pipkin -n "__fish_pipkin_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l name -d 'A name for the container [default: the start of its id]' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s e -l env -d 'Set an environment variable; without a value it is taken from the caller\'s environment' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s v -l volume -d 'Show a file or directory of this machine in the container' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s w -l workdir -d 'The directory in which the program starts' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s u -l user -d 'Who the program runs as: names or numbers' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l entrypoint -d 'The program, instead of the image\'s Entrypoint; empty for none' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l hostname -d 'The container\'s host name [default: the start of its id]' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s m -l memory -d 'The most memory, such as 64m or 1.5g' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l cpus -d 'How many processors\' time, such as 0.5 or 2' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l pids-limit -d 'The most processes and threads' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l rm -d 'Remove the container and what it wrote when it ends'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l init -d 'Run the program under pipkin-init, which reaps orphans and passes signals on'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -l read-only -d 'Make the root file system read-only'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s t -l tty -d 'Give the program a terminal'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s i -l interactive -d 'Connect standard input; without it the program reads nothing'
complete -c pipkin -n "__fish_pipkin_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin -n "__fish_pipkin_using_subcommand ps" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand ps" -s a -l all -d 'Also those that have ended'
complete -c pipkin -n "__fish_pipkin_using_subcommand ps" -s q -l quiet -d 'Print ids only'
complete -c pipkin -n "__fish_pipkin_using_subcommand ps" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_using_subcommand rm" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand rm" -s f -l force -d 'Kill those that run first'
complete -c pipkin -n "__fish_pipkin_using_subcommand rm" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_using_subcommand load" -l name -d 'Call the image this instead of the name in the file' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand load" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -l entrypoint -d 'The program that is always run: a JSON array, or words' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -l cmd -d 'Its arguments, or the program when there is no entrypoint: a JSON array, or words' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -s e -l env -d 'Set an environment variable' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -s w -l workdir -d 'The directory in which the program starts' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -s u -l user -d 'Who the program runs as' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -l stop-signal -d 'The signal that asks the program to stop' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand import" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_using_subcommand images" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand images" -s q -l quiet -d 'Print ids only'
complete -c pipkin -n "__fish_pipkin_using_subcommand images" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_using_subcommand rmi" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand rmi" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and not __fish_seen_subcommand_from boot help" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and not __fish_seen_subcommand_from boot help" -s h -l help -d 'Print help'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and not __fish_seen_subcommand_from boot help" -f -a "boot" -d 'Measure how long containers take to start and to end'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and not __fish_seen_subcommand_from boot help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l runtime -d 'An OCI runtime, by path or name; may be given several times' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l bundle -d 'A directory with config.json; its program must end by itself with exit code 0' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l runs -d 'How many rounds' -r
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l json -d 'Write every sample there, as JSON' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l svg -d 'Write a chart there' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -l root -d 'Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]' -r -F
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from boot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "boot" -d 'Measure how long containers take to start and to end'
complete -c pipkin -n "__fish_pipkin_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "run" -d 'Run a program in a new container of an image, in the foreground'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "ps" -d 'List containers'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "rm" -d 'Remove containers with everything they wrote'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "load" -d 'Bring an image from a file or directory into the store'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "import" -d 'Turn a directory or a plain tar archive into an image of one layer'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "images" -d 'List the images in the store'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "rmi" -d 'Remove images; layers that other images share stay'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "bench" -d 'Measure OCI runtimes on this machine'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and not __fish_seen_subcommand_from run ps rm load import images rmi bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pipkin -n "__fish_pipkin_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "boot" -d 'Measure how long containers take to start and to end'
