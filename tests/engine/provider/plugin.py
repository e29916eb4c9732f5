"""The real provider of Kubernetes as the engine finds it."""

from __future__ import annotations

from pathlib import Path

from lab.toolchain.build import Toolchain


def install_plugin(folder: Path, toolchain: Toolchain) -> Path:
    """Put the provider's command into a new folder, for PATH; the folder."""
    folder.mkdir()
    files = toolchain.share("pulumi-kubernetes") / "cmd/pulumi-resource-kubernetes"
    program = toolchain.program("pulumi-resource-kubernetes")
    script = folder / program.name
    script.write_text(f'#!/bin/sh\nPULUMI_KUBERNETES_FILES="{files}" exec "{program}" "$@"\n')
    script.chmod(0o755)
    return folder
