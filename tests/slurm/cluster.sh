#!/bin/bash
# A Slurm cluster of three nodes on this machine: cluster.sh start DIR | stop DIR | kill-node DIR NAME
#
# DIR gets its configuration, logs and state; `DIR/env` is to be sourced before sbatch and others. Everything listens on the
# loopback address only. Needs the programs of Debian's packages slurmctld, slurmd, slurm-client and munge, and root.
set -eu
command=$1
dir=$2
nodes="n1 n2 n3"

stop_file() {
    if [ -s "$1" ]; then
        kill -"${2:-TERM}" "$(cat "$1")" 2>/dev/null || true
    fi
}

start() {
    mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
    chmod 700 "$dir/munge"
    # Ports that are unlikely to be used by another test.
    local port=$((20000 + RANDOM % 10000))
    dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 2>/dev/null
    chmod 400 "$dir/munge/key"
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    cat > "$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 3))] CPUs=2 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
END
    echo "export SLURM_CONF=$dir/slurm.conf" > "$dir/env"
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld -f "$SLURM_CONF"
    for node in $nodes; do
        mkdir -p "$dir/spool/$node"
        slurmd -f "$SLURM_CONF" -N "$node"
    done
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --format '%t %D' 2>/dev/null)" = "idle 3" ] && exit 0
        sleep 1
    done
    sinfo >&2 || true
    echo "the cluster does not start; see $dir/*.log" >&2
    exit 1
}

# As a power failure: the node's daemon and all of its jobs end without a word.
kill_node() {
    local node=$1 step task environment
    stop_file "$dir/slurmd.$node.pid" KILL
    # A `slurmstepd` runs the tasks of a step; their environment says which cluster and node they are on.
    for step in $(pgrep -x slurmstepd); do
        for task in $(pgrep -P "$step"); do
            environment=$(tr '\0' '\n' 2>/dev/null < "/proc/$task/environ") || continue
            grep -qx "SLURMD_NODENAME=$node" <<< "$environment" || continue
            grep -qx "SLURM_CONF=$dir/slurm.conf" <<< "$environment" || continue
            kill -KILL "$step" "$task" 2>/dev/null || true
        done
    done
}

stop() {
    SLURM_CONF="$dir/slurm.conf" scancel --user=root 2>/dev/null || true
    sleep 1
    for node in $nodes; do
        stop_file "$dir/slurmd.$node.pid"
    done
    stop_file "$dir/slurmctld.pid"
    stop_file "$dir/munge/pid"
}

case "$command" in
start) start ;;
stop) stop ;;
kill-node) kill_node "$3" ;;
*)
    echo "cluster.sh start DIR | stop DIR | kill-node DIR NAME" >&2
    exit 2
    ;;
esac
