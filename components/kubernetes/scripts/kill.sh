# Ends every process that has exactly these arguments, with all that it has started. Ends with 0 once
# no process has them any more. A zombie has none.
wanted=$(printf '%s\n' "$@")
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  alive=
  for process in /proc/[0-9]*; do
    if [ "$(tr '\0' '\n' <"$process/cmdline" 2>/dev/null)" = "$wanted" ]; then
      alive=yes
      kill -KILL "-${process#/proc/}" || kill -KILL "${process#/proc/}"
    fi
  done
  [ -z "$alive" ] && exit 0
  sleep 0.5
done
exit 1
