"""Beyond one machine, in one table: `make beyond` writes docs/beyond.md.

    make cloud        kills and faults over a bucket; what a question reads of a thousand days
    make bench-spark  a rebuild here and by Spark; every table and view by both

Both run here, in the environment that has all they need. The kills and faults are counted by the tests that passed:
each says its own once it has held. A test that failed ends it all, and nothing is written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import bench_spark

from pipeline.text import pluralize

HERE = Path(__file__).parent


def cloud() -> dict[str, list[str]]:
    """What the tests over a bucket said of themselves, once each of them had passed."""
    with tempfile.TemporaryDirectory() as aside:
        told = Path(aside) / "told.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(HERE / "cloud.py"),
            f"--junitxml={told}",
            "-o",
            "junit_family=xunit1",
        ]
        subprocess.run(command, check=True, cwd=HERE.parents[1])
        said = defaultdict(list)
        for item in ET.parse(told).iter("property"):  # noqa: S314  (written just now)
            said[item.attrib["name"]].append(item.attrib["value"])
    return said


def rows(images: int, days: int) -> list[tuple[str, str, str]]:
    """Each line of the table: what, what came out, and the command that shows it."""
    found = [(what, result, "make bench-spark") for what, result in bench_spark.measured(images, days)]
    said = cloud()
    number = {name: f"{int(values[0]):,}" for name, values in said.items() if values[0].isdigit()}
    bucket = f"from a bucket of a thousand days: {number['objects']} objects, {number['bytes']} bytes"
    of_a_bucket = [
        ("writer of a bucket killed (SIGKILL) before or after a put", f"{len(said['kill'])} points"),
        ("put with a 503, a truncated body, a delayed response, or a lost response", f"{len(said['fault'])} points"),
        ("of these, lakes in a state between before and after", "0"),
        (
            f"latest capacity by region, {bucket}",
            f"{pluralize(int(said['latest: objects'][0]), 'object')}, {number['latest: bytes']} bytes",
        ),
        (
            "opening this bucket, with every commit record",
            f"{number['opening: objects']} objects, {number['opening: bytes']} bytes",
        ),
    ]
    return found + [(what, result, "make cloud") for what, result in of_a_bucket]


def main() -> None:
    """Run it all, and write the page."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, help="the page; none: it is printed")
    asked.add_argument("--images", type=int, default=bench_spark.IMAGES)
    asked.add_argument("--days", type=int, default=bench_spark.DAYS)
    told = asked.parse_args()
    load = os.getloadavg()[0]
    table = rows(told.images, told.days)
    how = (
        f"Measured once, on {dt.datetime.now(dt.UTC):%Y-%m-%d}, on {os.cpu_count()} shared cores "
        f"({platform.machine()}), {platform.system()}, Python {platform.python_version()}; load {load:.1f} at the "
        "start. The durations show only that Spark is slower on a single machine. The rebuild covers two accounts of "
        f"{told.images:,} images each, over {told.days} days; irregular accounts have nulls, gaps and unproven "
        "listings. The S3 server is SeaweedFS on the same machine."
    )
    links = "Procedure and limitations: [bucket.md](bucket.md), [spark.md](spark.md). Limits: [scale.md](scale.md)."
    text = [
        "# Spark and buckets: test results of `make beyond`",
        "",
        how,
        "",
        "| what | result | command |",
        "|---|--:|---|",
        *(f"| {what} | {result} | `{command}` |" for what, result, command in table),
        "",
        links,
        "",
    ]
    if told.out:
        told.out.write_text("\n".join(text), "utf-8")
    else:
        print("\n".join(text))  # noqa: T201


if __name__ == "__main__":
    main()
