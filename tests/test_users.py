"""The three users, each in fewer than ten typed lines: an analyst, a cron job, somebody with a DuckDB."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.emulator import Endpoint, Key, living_account

ROOT = Path(__file__).parent.parent


@pytest.fixture
def desk(tmp_path):
    """A fresh clone as far as `make` looks at it, in which what it would install is there."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, real in (("python", "python"), ("ens-images", "python -m pipeline")):
        command = real.replace("python", sys.executable, 1)
        (tmp_path / ".venv" / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def types(desk: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Type these lines into a shell; a line that is continued is one."""
    lines = [line for line in script.strip().splitlines() if line.strip()]
    assert len(lines) < 10
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_"))}
    environment = {**kept, "HOME": str(desk), "COLUMNS": "100", **more}
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)


def test_an_analyst_gets_from_nothing_to_a_dataframe(desk):
    done = types(
        desk,
        """
make demo
.venv/bin/python <<'PYTHON'
from pipeline import connect
regions = connect("data/demo").sql("select region_id, image_count, image_size_gib from capacity_by_region").df()
print(type(regions).__name__, regions.shape, regions.image_count.sum())
PYTHON
""",
        ENS_IMAGES_DEMO_DAYS="3",  # the month of the real thing takes some seconds more
    )

    assert done.returncode == 0, done.stderr
    assert "By region: " in done.stdout
    (shape,) = re.findall(r"^DataFrame \((\d+), 3\) (\d+)$", done.stdout, re.MULTILINE)
    total = int(re.findall(r"verified · (\d+) images", done.stdout)[-1])
    assert int(shape[0]) > 3
    assert int(shape[1]) <= total


def test_a_cron_job_over_three_accounts_says_what_became_of_each(desk):
    (desk / ".aliyun").mkdir()
    secrets = {"fine": "emulator", "busy": "emulator", "refused": "wrong"}
    profiles = [
        {"name": name, "mode": "AK", "access_key_id": name, "access_key_secret": secret}
        for name, secret in secrets.items()
    ]
    (desk / ".aliyun" / "config.json").write_text(json.dumps({"current": "fine", "profiles": profiles}))
    keys = {name: Key("emulator", living_account(images=60, seed=seed)) for seed, name in enumerate(secrets, 3)}
    with Endpoint(keys, faults=["throttling:key=busy,ms=600000"]) as endpoint:
        done = types(
            desk,
            f"""
cat > ens-images.toml <<'TOML'
endpoint = "{endpoint.url}"
summary = "summary.json"
accounts = [{{profile = "fine"}}, {{profile = "busy"}}, {{profile = "refused"}}]
TOML
.venv/bin/ens-images run
echo "ended with $?"
.venv/bin/ens-images status --max-age 26h
echo "ended with $?"
""",
        )

    assert done.stdout.count("ended with ") == 2
    assert "ended with 5\n" in done.stdout
    assert "ended with 8\n" in done.stdout
    assert re.search(r"^fine: verified, 60 images", done.stderr, re.MULTILINE)
    assert re.search(r"^busy: not published: StillThrottled: .*lower --rate, or try later", done.stderr, re.MULTILINE)
    assert re.search(r"^refused: not published: Refused: SignatureDoesNotMatch", done.stderr, re.MULTILINE)
    told = json.loads((desk / "summary.json").read_text())
    assert (told["exit_code"], [step["step"] for step in told["steps"]]) == (5, ["run"])
    assert {row["account"]: (row["is_published"], row["exit_code"]) for row in told["accounts"]} == {
        "fine": (True, 0),
        "busy": (False, 5),
        "refused": (False, 4),
    }
    assert re.search(r"error: NotFresh: 2 of 3 accounts: busy never published .*; refused never published", done.stderr)


def test_an_sql_user_reads_the_printed_views_with_a_bare_duckdb(desk):
    key = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator"}
    with Endpoint({"emulator": Key("emulator", living_account(images=60))}) as endpoint:
        done = types(
            desk,
            """
.venv/bin/ens-images run
.venv/bin/ens-images views > views.sql
.venv/bin/python <<'PYTHON'
import duckdb, sys
lake = duckdb.connect()
lake.execute(open("views.sql").read())
print(lake.sql("select sum(image_count)::int from capacity_by_platform").fetchall(), "pipeline" in sys.modules)
PYTHON
""",
            ENS_IMAGES_ENDPOINT=endpoint.url,
            **key,
        )

    assert done.returncode == 0, done.stderr
    (counted,) = re.findall(r"^\[\((\d+),\)\] False$", done.stdout, re.MULTILINE)
    assert 0 < int(counted) <= 60
