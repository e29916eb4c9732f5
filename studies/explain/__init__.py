"""Why: where the CPU time of an operation goes, by parts of the kernel's path."""
