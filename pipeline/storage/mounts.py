"""Mounted file systems: the type of the one that a path lies on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def file_system_of(path: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """Return the type of the file system that `path` lies on; `mounts` are mount points and types, in mount order."""
    deepest: tuple[int, str] | None = None
    for mount_point, file_system in mounts:
        depth = len(Path(mount_point).parts)
        if path.is_relative_to(mount_point) and (deepest is None or depth >= deepest[0]):
            deepest = (depth, file_system)
    return deepest[1] if deepest else None


def read_mounts() -> list[tuple[str, str]]:
    """Return mount point and type of each mounted file system, in mount order."""
    mounts = Path("/proc/self/mounts")
    if mounts.exists():
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
        fields = [line.split(" ") for line in lines]
        return [(mount_point.replace("\\040", " "), file_system) for _, mount_point, file_system, *_ in fields]
    output = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    return [_parse_mount(line) for line in output.splitlines()]


def _parse_mount(line: str) -> tuple[str, str]:
    """Parse a line of macOS: `/dev/disk3s1 on /System/Volumes/Data (apfs, local, …)`."""
    mount_point, _, attributes = line.partition(" on ")[2].rpartition(" (")
    return mount_point, attributes.rstrip(")").partition(",")[0]
