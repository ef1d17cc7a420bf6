//! The constant parts of a script, in bash.

/// Begins the script. `setup` of the site file follows.
pub(super) const BEGIN: &str = r#"
# The trap must be set first: a signal without it would end the job without requeueing it.
child= signaled=
trap 'signaled=1; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1 TERM

"#;

/// After lines of the site file, which may have set options of the shell that would end the script.
pub(super) const AFTER_SETUP: &str = "\nset +eu +o pipefail\n";

/// Defines `teardown`, whose lines follow; [`TEARDOWN_END`] ends it. A subshell keeps `exit` and
/// variables of these lines from the script. `:` makes it valid where the lines are comments only.
pub(super) const TEARDOWN_BEGIN: &str = r#"torn=
teardown() {
  [ -z "$torn" ] || return 0
  torn=1
  (
    :
"#;

pub(super) const TEARDOWN_END: &str = r#"
  ) || echo "teardown ended with $?"
}
trap 'code=$?; teardown; exit "$code"' EXIT
"#;

/// Computes the task's number and the time that is left.
pub(super) const TIME_LEFT: &str = r#"task=$((${VENDOMINI_TASK_OFFSET:-0} + ${SLURM_ARRAY_TASK_ID:-0}))
job=$SLURM_JOB_ID
[ -n "${SLURM_ARRAY_JOB_ID:-}" ] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# The job's end according to Slurm; without one, a year from now.
end=$(scontrol show job "$job" | sed -n 's/.* EndTime=\([^ ]*\).*/\1/p' | head -n 1)
end_s=$(date -d "$end" +%s 2>/dev/null) || end_s=$(($(date +%s) + 31536000))
time_left_s=$((end_s - $(date +%s) - lead_s))
[ "$time_left_s" -gt 0 ] || time_left_s=1
echo "task $task: job $job on $(hostname), start ${SLURM_RESTART_COUNT:-0}, $time_left_s s"

# Submits a job that goes on with this task, with $1 MiB of memory, or as the script says. Its line
# in the file is read by `vendomini status`; $2 is the rest of it.
submit_successor() {
  local memory=() successor
  [ -z "$1" ] || memory=("--mem=${1}M")
  successor=$(VENDOMINI_MEMORY_MIB=$1 sbatch --parsable --array="${SLURM_ARRAY_TASK_ID:-0}" --export=ALL "${memory[@]}" "$script") ||
    return
  echo "task $task: job $successor goes on"
  printf '{"job":%s,"model":%s,"offset":%s,"tasks":1,"script":%s,"submitted_unix_s":%s,"memory_mib":%s,"minutes":%s%s}\n' \
    "${successor%%;*}" "$model_json" "$task" "$script_json" "$(date +%s)" "${1:-$memory_json}" "$minutes" "$2" >>"$submissions"
}

"#;

pub(super) const WAIT: &str = r#"child=$!
[ -z "$signaled" ] || kill -USR1 "$child" 2>/dev/null
# Every step is on disk before the next one begins, so ending the program loses at most the step in
# flight. A trapped signal ends `wait` before the program ends.
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
echo "task $task: ended with $code"
"#;

/// Decides what follows the program's end, but for a job that continues.
pub(super) const DECIDE: &str = r#"
# 71: memory is too small. The task comes back once, with more.
if [ "$code" = 71 ] && [ -z "${VENDOMINI_MEMORY_MIB:-}" ]; then
  if [ -n "$more_memory_mib" ]; then
    echo "task $task: out of memory, goes on with $more_memory_mib MiB"
    submit_successor "$more_memory_mib" ",\"after_out_of_memory\":\"$job\""
  else
    echo "task $task: out of memory, and the site allows no more"
  fi
  exit 71
fi

# 124: out of time. 129, 130, 138, 143: stopped by a signal.
case $code in
  124 | 129 | 130 | 138 | 143) ;;
  *) exit "$code" ;;
esac
about=$(scontrol show job "$job")
case $about in
  *JobState=RUNNING*) ;;
  # Preempted or requeued by Slurm itself.
  *JobState=PENDING* | *JobState=REQUEUED*) exit "$code" ;;
  # Slurm is ending the job, and COMPLETING does not tell why. Preempted or out of time: continue.
  # Canceled by a user: stop.
  *)
    preempted=$(sed -n 's/.*PreemptTime=\([0-9][^ ]*\).*/\1/p' <<<"$about" | head -n 1)
    [ -n "$preempted" ] || [ "$(date +%s)" -ge "$end_s" ] || exit "$code"
    ;;
esac
"#;

pub(super) const REQUEUE: &str = r#"scontrol requeue "$job"
"#;

/// The end of the script on clusters that forbid requeueing.
pub(super) const SUCCESSOR: &str = r#"submit_successor "${VENDOMINI_MEMORY_MIB:-}" ""
"#;
