"""Experiments: the probes repeated along an axis that is changed on purpose, one file each.

:mod:`.registry` has them by name, :mod:`.base` says what one is, :mod:`.capabilities` what it may
ask of a session, :mod:`.model` what it gives.
"""
