"""Cilium: versions, toggles, Helm values, rules, and what its agents report."""
