"""The options that the running kernel was built with, where it tells them."""

from __future__ import annotations

import gzip
import platform
from collections.abc import Callable
from pathlib import Path


def kernel_options(root: Path = Path("/")) -> dict[str, str] | None:
    """Options by name without ``CONFIG_``, from ``/proc/config.gz`` or ``/boot/config-<release>``.

    None where neither can be read; an option that is not set is not in it.
    """
    candidates: tuple[tuple[Path, Callable[[bytes], bytes]], ...] = (
        (root / "proc/config.gz", gzip.decompress),
        (root / "boot" / f"config-{platform.release()}", bytes),
    )
    for path, read in candidates:
        try:
            return parse_options(read(path.read_bytes()).decode())
        except (OSError, ValueError):
            continue
    return None


def parse_options(text: str) -> dict[str, str]:
    """``CONFIG_X=y`` lines of a kernel's configuration."""
    lines = (line for line in text.splitlines() if line.startswith("CONFIG_"))
    pairs = (line.removeprefix("CONFIG_").split("=", 1) for line in lines)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
