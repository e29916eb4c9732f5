"""The pure domain: scenarios, tuning toggles, platform facts, guards, Helm values, proofs.

Nothing here does any I/O or imports anything else of the project: every function maps data to data.
"""
