"""Validation: the benchmark against known truth, the raw tools, itself and benchstat."""
