"""The lower bounds of pyproject.toml, as requirements: `make test-oldest` installs exactly these.

python tests/oldest.py          the core's, and what the tests need
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]


def lower_bounds() -> list[str]:
    """`name==version` for every `name>=version`, of the core and of what the tests need."""
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["report"], *extras["dev"]]
    bounds = [re.fullmatch(r"([\w.-]+(?:\[[\w,-]+\])?)>=([\w.]+)", line.partition(";")[0].strip()) for line in wanted]
    return [f"{found[1]}=={found[2]}" for found in bounds if found]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lower_bounds()))
