"""Experiments as tables, figures and documents."""
