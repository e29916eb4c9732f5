"""The command line ``python -m bench``: what puts the rooms together."""
