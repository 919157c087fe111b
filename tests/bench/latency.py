"""How long one pass over an account takes when each answer is late: a measurement, not a test.

    python tests/bench/latency.py [--images 1037] [--latency-ms 30] [--workers 8] [--rounds 9]

A pass is page 1, then the others side by side: at best the latency times 1 + ⌈(pages - 1) ÷ workers⌉. We want it
within one and a half times that. The endpoint runs beside the reader in the same process.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.extract.listing import extract
from pipeline.resources.images import IMAGES_RESOURCE


def passes_ms(endpoint: Endpoint, workers: int) -> list[float]:
    """Read the account once to `verified`; from the first call sent to the last answer received, for each pass."""
    reader = key_account("default", "emulator", "emulator")
    (listing,) = extract([reader], lambda *_: None, endpoint=endpoint.url, rate=None, workers=workers)
    if listing.level != "verified":
        raise SystemExit(f"not verified: {listing.error}")
    found = []
    for number in range(1, listing.ended_passes + 1):
        mine = [answer for answer in listing.answers if answer.pass_number == number]
        took = max(answer.received_at_utc for answer in mine) - min(answer.sent_at_utc for answer in mine)
        found.append(took.total_seconds() * 1_000)
    return found


def main() -> int:
    """Measure, print, and say whether the median is within the allowance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1037)
    parser.add_argument("--latency-ms", type=float, default=30)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()

    pages = max(1, -(-asked.images // IMAGES_RESOURCE.action.page_size))
    at_best = (1 + -(-(pages - 1) // asked.workers)) * asked.latency_ms
    emulated = living_account(images=asked.images, seed=1)
    with Endpoint({"emulator": Key("emulator", emulated)}, latency_ms=asked.latency_ms) as endpoint:
        took = [ms for _ in range(asked.rounds) for ms in passes_ms(endpoint, asked.workers)]
    median = statistics.median(took)
    sys.stdout.write(
        f"{pages} pages, {asked.workers} workers, {asked.latency_ms:g} ms: a pass takes {median:.0f} ms "
        f"(median of {len(took)}; {min(took):.0f} to {max(took):.0f}), at best {at_best:.0f}, "
        f"allowed {1.5 * at_best:.0f}\n"
    )
    return 0 if median <= 1.5 * at_best else 1


if __name__ == "__main__":
    sys.exit(main())
