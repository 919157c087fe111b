"""Serve a local ENS endpoint from the options of `emulate`.

--key ID:SECRET, --images, --instances, --file, --fault …  →  Endpoint  →  serve until SIGINT or SIGTERM
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def faults() -> dict[str, str]:
    """List the faults of the local endpoint.

    Returns:
        Descriptions by name.
    """
    from pipeline.emulator import FAULTS

    return dict(FAULTS)


def emulate(
    *,
    images: int,
    instances: int,
    seed: int,
    day: int,
    file: Path | None,
    port: int,
    latency_ms: float,
    qps: float | None,
    refuse_large_pages: bool,
    older_signatures: bool,
    keys: Sequence[str],
    denied: Sequence[str],
    faults: Sequence[str],
    print_line: Callable[[str], object],
) -> None:
    """Serve a local endpoint until SIGINT or SIGTERM; print its URL and how to call it.

    Raises:
        BadSetting: an option is out of range, the file lists no images or instances, or the port is in use.
    """
    from pipeline.emulator import Endpoint, Key, living_account, read_account, serve
    from pipeline.emulator.actions import ACTIONS

    for name in denied:
        if name not in ACTIONS:
            raise BadSetting(f"--deny {name!r} is not an action of the endpoint: there are {', '.join(ACTIONS)}")
    opened: dict[str, Key] = {}
    try:
        for number, pair in enumerate(keys or ["emulator:emulator"]):
            key_id, colon, secret = pair.partition(":")
            if not (key_id and colon and secret):
                raise BadSetting(f"--key {pair!r} is not of the form ID:SECRET")
            if key_id in opened:
                raise BadSetting(f"--key {key_id!r} is given twice: each key opens one account")
            account = read_account(file, number + 1) if file else living_account(images, seed + number, instances)
            opened[key_id] = Key(secret, account, permitted_days=dict.fromkeys(denied, ()))
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
            lambda url: print_line(
                f"ENS endpoint at {url} for {', '.join(opened)}; Ctrl-C ends it. In another terminal:\n"
                f"  export ALIBABA_CLOUD_ACCESS_KEY_ID={key_id} ALIBABA_CLOUD_ACCESS_KEY_SECRET={key.secret}\n"
                f"  ens-images run --endpoint {url}"
            ),
        )
    except (ValueError, RecursionError) as error:
        raise BadSetting(str(error)) from error
    except OSError as error:
        raise BadSetting(f"cannot listen on port {port} ({error.strerror}): choose another with --port") from error
