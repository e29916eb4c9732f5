"""The target `lab`: a cluster in network namespaces of this machine."""
