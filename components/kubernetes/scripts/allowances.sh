# The counters of all devices; those without any print nothing that matters.
for device in /sys/class/net/*; do
  [ -e "$device/device" ] && ethtool -S "${device##*/}" 2>/dev/null | grep _allowance_exceeded
done
true
