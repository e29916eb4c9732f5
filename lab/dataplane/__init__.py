"""What carries pods' and services' packets: kube-proxy, and one folder per CNI.

A CNI is added by a folder with a :class:`~lab.dataplane.interface.LabDataplane` and a line in
:mod:`.registry`.
"""
