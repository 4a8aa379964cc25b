complete -c pipkin-init -s r -l rewrite -d 'pass FROM on as TO: TERM:QUIT, 15:3, HUP:RTMIN+1; TO 0: not at all' -r
complete -c pipkin-init -l delay -d 'hold the first TERM back for TIME; a second one passes at once' -r
complete -c pipkin-init -l wait -d 'when COMMAND has ended, TERM the rest and wait for it; KILL it after TIME' -r
complete -c pipkin-init -l grace -d 'TIME after TERM or INT, KILL all and end with 137' -r
complete -c pipkin-init -s e -l exit-zero -d 'end with 0 when COMMAND ended with CODE' -r
complete -c pipkin-init -s p -l parent-death -d 'get SIG when the parent dies' -r
complete -c pipkin-init -s g -l group -d 'pass them to COMMAND\'s whole process group'
complete -c pipkin-init -s c -l single-child -d 'pass them to COMMAND alone'
complete -c pipkin-init -l once -d 'pass them to the group except those whose parent handles them'
complete -c pipkin-init -l no-wait -d 'when COMMAND has ended, TERM the rest and end at once'
complete -c pipkin-init -s s -l subreaper -d 'adopt orphans, also when not PID 1'
complete -c pipkin-init -l no-subreaper -d 'do not'
complete -c pipkin-init -l session -d 'run COMMAND in a session of its own'
complete -c pipkin-init -s P -l pause -d 'run nothing: reap until TERM or INT'
complete -c pipkin-init -s v -l verbose -d 'say more; twice: say all'
complete -c pipkin-init -s w -l report-reaped -d 'tell of each orphan that ended'
complete -c pipkin-init -s h -l help -d 'print this'
complete -c pipkin-init -s V -l version -d 'print the version'
complete -c pipkin-init -s L -l license -d 'print the licence'
