"""The embedded cluster: real control plane, kube-proxy and CNIs in network namespaces.

Nothing here knows what is measured; :mod:`lab.cluster` is the entry point and
``docs/lab.md`` explains how the parts fit.
"""
