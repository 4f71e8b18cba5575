#!/usr/bin/env bash
# A scheduler for tests: a job is a background process, its number the process group.
#   scheduler.sh submit <folder> <script> | status <folder> <number>
set -euo pipefail
case "$1" in
    submit)
        mkdir -p "$2"
        setsid bash -c 'bash "$2"; echo $? >"$1/$$.status"' _ "$2" "$3" >/dev/null 2>&1 &
        echo $!
        ;;
    status)
        if [ -e "$2/$3.status" ]; then
            [ "$(cat "$2/$3.status")" = 0 ] && echo success || echo failed
        elif kill -0 -- "-$3" 2>/dev/null; then
            echo running
        else
            echo failed
        fi
        ;;
esac
