"""Cilium in the lab."""
