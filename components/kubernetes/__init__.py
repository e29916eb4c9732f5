"""Clusters that are reached by their Kubernetes API: the session, the workloads, the gates.

The targets `eks` and `kubeconfig` share it; what differs is how the cluster comes to be and how one
logs in (:mod:`components.kubernetes.access`).
"""
