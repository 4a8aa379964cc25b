# What the scripts of the tests share that fetch something; to be read by them.

# Whether a command that ended with that status, and wrote that file, did so because there was no network: that is no fault of
# what is tested. Anything else is one: a full disk, a name that nobody has, a wrong option.
had_no_network() {
    ! grep -q -i 'no space left' "$2" || return 1
    [ "$1" = 124 ] || grep -q -i -e 'failed to fetch' -e 'could not resolve' -e 'temporary failure' -e 'could not connect' \
        -e 'unable to connect' -e 'cannot initiate the connection' -e 'connection timed out' -e 'connection refused' \
        -e 'network is unreachable' -e 'no route to host' "$2"
}
