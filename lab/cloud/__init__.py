"""What plays AWS for the nodes: EC2 API, instance metadata, the VPC's router, the hypervisor."""
