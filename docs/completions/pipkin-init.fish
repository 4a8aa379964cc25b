complete -c pipkin-init -s r -l rewrite -d 'pass FROM on as TO: TERM:QUIT, 15:3, HUP:RTMIN+1; TO 0 drops it' -r
complete -c pipkin-init -l delay -d 'hold the first TERM back for TIME; a second one passes at once' -r
complete -c pipkin-init -l wait -d 'when the main child is gone, TERM the rest, wait, KILL it after TIME (default: 10s, or no limit once told to stop; without TIME: no limit)' -r
complete -c pipkin-init -l grace -d 'TIME after TERM or INT was passed on, KILL all, end with 137' -r
complete -c pipkin-init -s e -l exit-zero -d 'end with 0 when COMMAND ended with CODE' -r
complete -c pipkin-init -s p -l parent-death -d 'get SIG when the parent dies' -r
complete -c pipkin-init -s g -l group -d 'pass them to the main child\'s whole process group (default)'
complete -c pipkin-init -s c -l single-child -d 'pass them to the main child alone'
complete -c pipkin-init -l once -d 'spare those whose parent handles the signal, and so passes it on'
complete -c pipkin-init -l no-wait -d 'TERM the rest and end at once'
complete -c pipkin-init -s s -l subreaper -d 'adopt orphans also when not PID 1 (default)'
complete -c pipkin-init -l no-subreaper -d 'do not'
complete -c pipkin-init -l session -d 'run COMMAND in a session of its own'
complete -c pipkin-init -s P -l pause -d 'run nothing: reap until TERM or INT'
complete -c pipkin-init -s v -l verbose -d 'say more; -vv: say all'
complete -c pipkin-init -s w -l report-reaped -d 'tell of each orphan that ended'
complete -c pipkin-init -s h -l help -d 'print the help and end'
complete -c pipkin-init -s V -l version -d 'print the version and end'
complete -c pipkin-init -s L -l license -d 'print the license and end'
