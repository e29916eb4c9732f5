"""A CNI that there is not: all that a CNI of one's own needs in `cni/`."""
