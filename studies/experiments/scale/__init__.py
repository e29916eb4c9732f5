"""Service scaling: what a Service costs when there are thousands of them.

:mod:`.fillers` makes and removes them, :mod:`.dataplane` reads what a dataplane has made of them,
:mod:`.probes` measures at one size, :mod:`.run` visits the sizes.
"""
