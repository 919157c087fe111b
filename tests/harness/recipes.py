"""The recipes that need a tool of their own, run with it: `make recipes` (minutes; not part of `make test`).

Airflow       the DAG is imported and run, against the local endpoint, well and refused
hadolint      the Dockerfile
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.emulator import Endpoint, Key, living_account

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
TOOLS = Path(os.environ.get("RECIPES_VENV", ".venv-recipes")).absolute() / "bin"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home with a profile that is right, and one that is not; Airflow's database beside it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".aliyun").mkdir()
    profiles = [
        {"name": name, "mode": "AK", "access_key_id": "emulator", "access_key_secret": secret}
        for name, secret in (("prod", "emulator"), ("refused", "wrong"))
    ]
    (folder / ".aliyun" / "config.json").write_text(json.dumps({"current": "prod", "profiles": profiles}))
    subprocess.run([TOOLS / "airflow", "db", "migrate"], env=environment(folder), check=True, capture_output=True)
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(RECIPES),
        "ENS_IMAGES": str(Path(sys.executable).parent / "ens-images"),
        **more,
    }


def dag(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [TOOLS / "airflow", "dags", "test", "ens_images_daily"]
    return subprocess.run(command, env=environment(home, **more), capture_output=True, text=True, check=False)


def test_the_dag_lists_the_account_and_finds_it_fresh(home):
    with Endpoint({"emulator": Key("emulator", living_account(images=7))}) as endpoint:
        where = {"ENS_IMAGES_ENDPOINT": endpoint.url, "ENS_IMAGES_DATA": str(home / "data")}
        done = dag(home, **where, ENS_IMAGES_PROFILE="prod")

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "prod: verified, 7 images" in said
    assert "state=success" in said


def test_a_refusal_fails_the_dag_at_once(home):
    with Endpoint({"emulator": Key("emulator", living_account(images=7))}) as endpoint:
        where = {"ENS_IMAGES_ENDPOINT": endpoint.url, "ENS_IMAGES_DATA": str(home / "refused")}
        done = dag(home, **where, ENS_IMAGES_PROFILE="refused")
        calls = endpoint.calls

    said = done.stdout + done.stderr
    assert "SignatureDoesNotMatch" in said
    assert re.search(r"ended with 4", said)
    assert re.search(r"state[=:]\s*failed|marked as failed|Marking run .* failed", said, re.IGNORECASE), said[-3000:]
    assert calls == 1


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = subprocess.run([TOOLS / "hadolint", RECIPES / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")
