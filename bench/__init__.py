"""The measurement: what is run in which pod, how its output is read, what is stored.

Nothing here imports Pulumi or knows a target; a cluster is reached through
:class:`bench.session.Session` only. See ``bench.interleave.run_benchmark``.
"""
