"""Stand-ins for the prebuilt provider plugins of AWS, EKS and Kubernetes.

They speak the engine's own protocol, echo what they are given, make up what a cloud would answer,
and keep a journal. Run by scripts that :func:`tests.engine.eks.standins.install.install` writes.
"""
