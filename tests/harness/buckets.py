"""What the tests of buckets share: a bucket in memory, an account to run over, and a lake of six days."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from objects import put_object
from obstore.store import MemoryStore

from pipeline import run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.storage import configuration
from pipeline.storage.bucket import bucket_store
from pipeline.storage.store import open_location


@pytest.fixture
def lake(monkeypatch, tmp_path_factory) -> str:
    """The address of an empty bucket in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("time.sleep", lambda _: None)
    return bucket_in_memory(monkeypatch)


def bucket_in_memory(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every bucket be an empty one in memory. Returns: the address of a lake in it."""
    client = MemoryStore()
    monkeypatch.setattr(configuration, "object_client", lambda *_, **__: client)
    bucket_store.cache_clear()
    return "s3://bucket/a/lake"


@pytest.fixture
def account_here(serve, account) -> dict[str, Any]:
    """What a run needs: an account, and the local endpoint that it is at."""
    return {"accounts": [account], "endpoint": serve(images=12).url}


DAYS = [dt.datetime(2026, 10, day, 2) for day in range(1, 7)]  # noqa: DTZ001
Files = dict[str, bytes]


@pytest.fixture(scope="session")
def lived() -> Files:
    """The files of a lake that lived through six days of two accounts, not compacted."""
    keys = {name: Key(name, living_account(images=4, seed=seed)) for seed, name in enumerate(("here", "there"))}
    accounts = [key_account(name, name, name) for name in keys]
    with pytest.MonkeyPatch.context() as patch, Endpoint(keys) as endpoint:
        lake = open_location(bucket_in_memory(patch))
        for day in DAYS:
            run(lake, accounts=accounts, endpoint=endpoint.url, observed_at=day, accept_shrink=True)
        return {str(path.relative_to(lake)): path.read_bytes() for path in lake.rglob("*")}


@pytest.fixture
def folder(lived, tmp_path) -> Path:
    """This lake in a folder."""
    for name, content in lived.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Path(tmp_path / "data")


@pytest.fixture
def bucket(lived, lake) -> str:
    """This lake in a bucket."""
    for name, content in lived.items():
        put_object(f"{lake}/{name}", content)
    return str(lake)
