"""Pulumi components: what a stack is made of, whatever its target."""
