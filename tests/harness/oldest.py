"""The lower bounds of pyproject.toml, as requirements: `make test-oldest` installs exactly these.

python tests/harness/oldest.py          the core's, and those of every extra, but for what no test of `make test` needs
"""

from __future__ import annotations

import itertools
import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
NOT_NEEDED = {"mypy", "pandas-stubs", "pyspark", "ruff"}  # of `make lint`, `make types`, `make spark`


def lower_bounds() -> list[str]:
    """`name==version` for every `name>=version`, of the core and of every extra."""
    wanted = dict.fromkeys([*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())])
    bounds = [re.fullmatch(r"([\w.-]+(?:\[[\w,-]+\])?)>=([\w.]+)", line.partition(";")[0].strip()) for line in wanted]
    return [f"{found[1]}=={found[2]}" for found in bounds if found and found[1] not in NOT_NEEDED]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lower_bounds()))
