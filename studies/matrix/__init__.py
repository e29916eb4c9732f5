"""Scenarios side by side: their stacks brought up, measured in interleaved rounds, taken down."""
