# The device that the node reaches others by, its driver and its MTU, as `name: value` lines.
device=$(ip -o route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
echo "interface: $device"
echo "mtu: $(cat "/sys/class/net/$device/mtu")"
ethtool -i "$device"
