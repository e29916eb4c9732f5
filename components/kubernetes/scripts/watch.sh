# Notes the time of day, the CPUs' time, and of each container (its id is an argument, behind the
# cgroups' root and the seconds between notes) the CPU time in microseconds and how many processes it
# has. Tells what it has noted since, and an empty line, for each line that comes on standard input;
# ends with it, or when nothing was asked for a long time. Only the shell's own means are used, so that
# it takes next to no CPU time itself.
root=$1 interval=$2 most=$3; shift 3
usages=() members=()
for id; do
  usage=
  while read -r group; do
    if [[ -r $group/cpuacct.usage ]]; then # version 1
      usage=$group/cpuacct.usage
    elif [[ -r $group/cpu.stat ]] && read -r key _ <"$group/cpu.stat" && [[ $key = usage_usec ]]; then
      usage=$group/cpu.stat
    else
      continue
    fi
    break
  done < <(find "$root" -type d -name "*$id*")
  [[ $usage ]] || { echo "the cgroup of $id is not found" >&2; exit 1; }
  usages+=("$usage") members+=("${usage%/*}/cgroup.procs")
done
notes=()
note() {
  local i note=$EPOCHREALTIME cpu first second processes
  read -r cpu </proc/stat
  note+=" $cpu"
  for i in "${!usages[@]}"; do
    if read -r first second <"${usages[i]}" && mapfile -t processes <"${members[i]}"; then
      note+=" | ${second:-$((first / 1000))} ${#processes[@]}"
    else
      note+=" | - -"
    fi 2>/dev/null
  done
  notes+=("$note")
}
while (( ${#notes[@]} < most )); do
  note
  if read -rt "$interval"; then
    note
    printf '%s\n' "${notes[@]}" ''
    notes=()
  elif (( $? <= 128 )); then
    exit 0
  fi
done
echo "nothing was asked for" >&2
exit 1
