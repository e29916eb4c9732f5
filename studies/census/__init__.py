"""The shape of a cluster as data, and scenarios in that shape.

:mod:`.model` is what a census holds. How a cluster is asked for it is :mod:`components.census`.
"""
