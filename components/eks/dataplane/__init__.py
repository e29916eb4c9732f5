"""The CNIs on EKS: for each, how it is installed and what it needs of AWS.

A CNI is added by a module with an :class:`~components.eks.dataplane.interface.EksDataplane` and a
line in :mod:`.registry`.
"""
