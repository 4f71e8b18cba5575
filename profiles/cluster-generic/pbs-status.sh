#!/bin/sh
# Says whether a PBS job is running, success or failed. Edit for another scheduler.
state=$(qstat -x -f "$1" 2>/dev/null)
case "$state" in
    *"job_state = F"*) ;;
    *"job_state = "*) echo running; exit ;;
    *) echo failed; exit ;;
esac
case "$state" in
    *"Exit_status = 0"*) echo success ;;
    *) echo failed ;;
esac
