"""Reads the shape of a cluster that somebody uses, without writing to it.

:mod:`.take` asks the API server, :mod:`.shapes` makes numbers of its objects, :mod:`.rights` says
what one has to be allowed for it. Addresses and names stay in the memory of :mod:`.shapes`.
"""
