"""Disruption: what users feel while a component, a pod or a policy comes and goes.

:mod:`.load` is what is asked of the load generator and what its log says, :mod:`.events` what is
disrupted, :mod:`.run` measures one event after the other.
"""
