# Waits until something listens on a TCP port of this pod: the first argument, for at most as many
# tenths of a second as the second one.
for attempt in $(seq "$2"); do
  bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null && exit 0
  sleep 0.1
done
echo "nothing listens on port $1" >&2
exit 1
