"""What the tests share: a local endpoint, an account on it, and Hypothesis's profile."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from pipeline.emulator import Endpoint, Key, living_account
from pipeline.ens_api import Account, key_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("here"), max_examples=20_000)  # --hypothesis-profile=fuzz
settings.load_profile("here")

EXAMPLE = Path(__file__).parent / "data" / "describe_self_images.json"


@pytest.fixture
def example() -> bytes:
    """The published example response, byte for byte."""
    return EXAMPLE.read_bytes()


@pytest.fixture
def account() -> Account:
    """The account `default` with the local endpoint's key."""
    return key_account("default", "emulator", "emulator")


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    """Start endpoints that stop with the test: `serve(images=1037)`, or `serve(account)`."""
    with contextlib.ExitStack() as stack:

        def start(stock: Any = None, *, images: int = 3, seed: int = 1, **options: Any) -> Endpoint:
            stock = stock or living_account(images=images, seed=seed)
            return stack.enter_context(Endpoint({"emulator": Key("emulator", stock)}, **options))

        yield start


def page(images: list[dict[str, Any]], number: int = 1, total: int | None = None, size: int = 50) -> bytes:
    """An answer as the service spells it."""
    body = {
        "Code": 0,
        "Images": {"Image": images},
        "RequestId": "A8B8EB73-B4FD-4262-8EF6-680DF39C9BA0",
        "PageSize": str(size),
        "PageNumber": str(number),
        "TotalCount": str(len(images) if total is None else total),
    }
    return json.dumps(body, ensure_ascii=False).encode()
