"""The Kubernetes client: objects by their kind, commands in pods, and many creations at a time.

It stands on the dynamic client of the package ``kubernetes``. It knows nothing of the benchmark.
"""
