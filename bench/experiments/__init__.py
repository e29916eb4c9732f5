"""Experiments: the probes repeated along an axis that is changed on purpose, one file each."""
