# What a pod's packets meet, and the cluster's DNS domain, as `name: value` lines.
route=$(ip -o route show default)
device=$(echo "$route" | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
echo "device_mtu: $(cat "/sys/class/net/$device/mtu")"
echo "route_mtu: $(echo "$route" | sed -n 's/.* mtu \(lock \)*\([0-9]*\).*/\2/p')"
echo "congestion_control: $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
echo "search: $(sed -n 's/^search //p' /etc/resolv.conf)"
