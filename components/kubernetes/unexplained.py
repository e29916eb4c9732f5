"""Why targets with a Kubernetes API do not tell where CPU time goes (docs/explain.md)."""

UNEXPLAINED = (
    "parts of CPU time are trusted as far as they add up to the clocks of the nodes' tasks, and "
    "what a network card brings is done by whatever its interrupt meets, mostly the idle task, "
    "which has no such clock; nor can two clusters take turns on the same CPUs. In its place: "
    "python -m bench explain, with the same scenarios in the lab"
)
