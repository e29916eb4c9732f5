"""What carries pods' and services' packets: kube-proxy, Cilium, the VPC CNI plugin."""
