"""The target `kubeconfig`: a scenario on a cluster that somebody has made."""
