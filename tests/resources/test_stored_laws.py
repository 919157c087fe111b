"""Compaction, versions, latest views, check, withdrawal and restoration follow from a declaration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HARNESS = Path(__file__).parents[1] / "harness"


def test_the_laws_of_the_lake_hold_for_every_resource_and_a_made_up_one(tmp_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stored_laws.py")), str(tmp_path / "lakes")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HARNESS), *sys.path])},
    )

    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr
