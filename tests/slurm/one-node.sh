#!/usr/bin/env bash
# A Slurm of one node with one made-up GPU, without systemd or accounting, reached over the loopback only.
#   one-node.sh start <new folder>   installs Debian's packages where they are missing; exit status 77: cannot be, and why
#   one-node.sh stop <folder>        stops the daemons and takes the configuration away again
set -euo pipefail

CONFIG=/etc/slurm
PACKAGES=(slurmctld slurmd slurm-client munge)
MARK="# written by tests/slurm/one-node.sh"

skip() {
    echo "$1"
    exit 77
}

check_and_install() {
    [ "$(id -u)" = 0 ] || skip "expected to run as root, which starts Slurm's daemons"
    if [ -e "$CONFIG/slurm.conf" ] && ! grep -qF "$MARK" "$CONFIG/slurm.conf"; then
        skip "$CONFIG/slurm.conf: this machine has a Slurm of its own"
    fi
    local missing=()
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || skip "expected Debian or Ubuntu, for their packages ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$1/apt.log" 2>&1 \
        || skip "apt-get could not install ${missing[*]}: $(tail -n 1 "$1/apt.log")"
}

write_configuration() {
    mkdir -p "$CONFIG" "$1/state" "$1/spool"
    touch "$1/gpu0"
    cat >"$CONFIG/slurm.conf" <<END
$MARK
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$1/munge.socket
CredType=cred/munge
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=10
MinJobAge=300
GresTypes=gpu
# More cores than there are: the jobs of a study of a minute wait for each other, not for cores.
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
END
    echo "NodeName=$(hostname -s) Name=gpu File=$1/gpu0" >"$CONFIG/gres.conf"
}

start() {
    mkdir -p "$1"
    chmod 755 "$1"
    check_and_install "$1"
    write_configuration "$1"
    head --bytes 1024 /dev/urandom >"$1/munge.key"
    chmod 600 "$1/munge.key"
    munged --force --socket "$1/munge.socket" --key-file "$1/munge.key" --pid-file "$1/munged.pid" \
        --log-file "$1/munged.log" --seed-file "$1/munge.seed"
    slurmctld -c
    slurmd -c
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --format %t 2>/dev/null)" = idle ] && return
        sleep 0.5
    done
    tail -n 20 "$1"/*.log >&2
    echo "Slurm did not start within 30 seconds" >&2
    exit 1
}

stop() {
    scancel --full --signal KILL --user root 2>/dev/null || true
    for daemon in slurmd slurmctld munged; do
        if [ -e "$1/$daemon.pid" ]; then
            kill "$(cat "$1/$daemon.pid")" 2>/dev/null || true
        fi
    done
    if grep -qsF "$MARK" "$CONFIG/slurm.conf"; then
        rm -f "$CONFIG/slurm.conf" "$CONFIG/gres.conf"
    fi
}

case "${1:-}" in
    start | stop) "$1" "$(realpath "${2:?expected a folder}")" ;;
    *) echo "expected start or stop and a folder, got: $*" >&2; exit 2 ;;
esac
