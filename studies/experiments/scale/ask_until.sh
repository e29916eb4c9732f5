# ask_until.sh HOST PORT PATH WANTED SECONDS
# Asks one request after the other, 2 ms apart, and ends with the first that is answered as wanted;
# prints when (µs since 1970) each other answer came first, and the longest time (µs) from one answer
# to the next so far. Run by `bash -c` in a client's pod.
host=$1 port=$2 path=$3 wanted=$4 seconds=$5 last= answered= longest=0
exec {pause}<> <(:)
now=${EPOCHREALTIME//[.,]/}
end=$((now + seconds * 1000000))
while [ "$now" -lt "$end" ]; do
  code=refused
  if exec {web}<>"/dev/tcp/$host/$port"; then
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&"$web"
    read -r -t 1 -u "$web" _ code _
    code=${code:-silent}
    exec {web}>&-
  fi 2>/dev/null
  now=${EPOCHREALTIME//[.,]/}
  case $code in refused | silent) ;; *)
    gap=$((now - ${answered:-$now})) answered=$now
    [ "$gap" -le "$longest" ] || longest=$gap
  esac
  [ "$code" = "$last" ] || echo "$now $code $longest"
  last=$code
  [ "$code" = "$wanted" ] && exit 0
  read -r -t 0.002 -u "$pause"
done
exit 1
