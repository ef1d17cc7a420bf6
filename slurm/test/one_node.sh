#!/bin/bash
# A real Slurm of one node on loopback, for tests: `one_node.sh start DIR`, then
# SLURM_CONF=DIR/slurm.conf; `one_node.sh stop DIR`. `one_node.sh install` installs Debian's packages
# if they are missing. Needs root, slurmctld, slurmd and the clients. Ports come from the process id,
# so that several can run side by side.
set -euo pipefail

usage() {
  echo "usage: one_node.sh start DIR [MaxArraySize] | stop DIR | install" >&2
  exit 2
}

install() {
  local program missing=
  # Given several names, command -v succeeds if it finds any.
  for program in slurmctld slurmd sbatch squeue scontrol; do
    command -v "$program" >/dev/null || missing=$program
  done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || return 1
  timeout 300 sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends slurmctld slurmd slurm-client munge' >&2
}

configure() {
  local dir=$1 array_size=$2 host port
  host=$(hostname -s)
  port=$((20000 + $$ % 10000 * 2))
  mkdir -p "$dir"/{state,spool,dev}
  cat >"$dir/slurm.conf" <<EOF
ClusterName=vendomini
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,sched_interval=1,bf_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobcomp.log
MaxArraySize=$array_size
ReturnToService=2
KillWait=2
MailProg=/bin/true
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 Gres=gpu:fake:4
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
  # Character devices: with plain files CUDA_VISIBLE_DEVICES stays empty.
  for i in 0 1 2 3; do
    [ -e "$dir/dev/nvidia$i" ] || mknod -m 666 "$dir/dev/nvidia$i" c 195 "$i"
  done
  echo "Name=gpu Type=fake File=$dir/dev/nvidia[0-3]" >"$dir/gres.conf"
}

start() {
  local dir=$1
  export SLURM_CONF=$dir/slurm.conf
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF" -N "$(hostname -s)"
  for _ in $(seq 100); do
    [ "$(timeout 5 sinfo -h -o %T 2>/dev/null)" = idle ] && return
    sleep 0.2
  done
  echo "one_node.sh: the node is not idle after 20 s" >&2
  tail -n 20 "$dir"/slurm*.log >&2
  stop "$dir"
  exit 1
}

stop() {
  local dir=$1 pid
  export SLURM_CONF=$dir/slurm.conf
  timeout 10 scancel -u "$(id -un)" || true
  for _ in $(seq 50); do
    [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
  for daemon in slurmd slurmctld; do
    pid=$(cat "$dir/$daemon.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  done
}

[ "${1:-}" = install ] || [ $# -ge 2 ] || usage
case $1 in
  install) install ;;
  start)
    configure "$(realpath -m "$2")" "${3:-1001}"
    start "$(realpath "$2")"
    ;;
  stop) stop "$(realpath "$2")" ;;
  *) usage ;;
esac
