"""Run a local endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def faults() -> dict[str, str]:
    """The faults that the local endpoint knows: name → what goes wrong."""
    from pipeline.emulator import FAULTS

    return dict(FAULTS)


def emulate(
    *,
    images: int,
    seed: int,
    day: int,
    file: Path | None,
    port: int,
    latency_ms: float,
    qps: float | None,
    refuse_large_pages: bool,
    older_signatures: bool,
    keys: Sequence[str],
    faults: Sequence[str],
    told: Callable[[str], object],
) -> None:
    """Serve a local endpoint until SIGINT or SIGTERM; `told` is told where, and how to call it.

    Raises:
        BadSetting: an option makes no sense, a file holds no images, or the port is taken.
    """
    from pipeline.emulator import Endpoint, Key, living_account, read_account, serve

    opened = {}
    try:
        for number, spelled in enumerate(keys or ["emulator:emulator"]):
            key_id, colon, secret = spelled.partition(":")
            if not (key_id and colon and secret):
                raise BadSetting(f"--key {spelled!r} is not of the form ID:SECRET")
            if key_id in opened:
                raise BadSetting(f"--key {key_id!r} is given twice: each key opens one account")
            stock = read_account(file) if file else living_account(images=images, seed=seed + number)
            opened[key_id] = Key(secret, stock)
        endpoint = Endpoint(
            opened,
            port=port,
            day=day,
            latency_ms=latency_ms,
            qps=qps,
            refuse_large_pages=refuse_large_pages,
            older_signatures=older_signatures,
            seed=seed,
            faults=faults,
        )
        key_id, key = next(iter(opened.items()))
        serve(
            endpoint,
            lambda url: told(
                f"ENS endpoint at {url} for {', '.join(opened)}; Ctrl-C ends it. In another terminal:\n"
                f"  export ALIBABA_CLOUD_ACCESS_KEY_ID={key_id} ALIBABA_CLOUD_ACCESS_KEY_SECRET={key.secret}\n"
                f"  ens-images run --endpoint {url}"
            ),
        )
    except (ValueError, RecursionError) as error:
        raise BadSetting(str(error)) from error
    except OSError as error:
        raise BadSetting(
            f"port {port} cannot be listened on ({error.strerror}): take another one with --port"
        ) from error
