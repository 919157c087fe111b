"""Every night in Airflow: run, then look whether every account is fresh.

`ens-images` lives in an environment of its own (ENS_IMAGES says where its command is), with its settings in
ENS_IMAGES_CONFIG: nothing of it is imported here, so neither can break the other.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

TRY_LATER = 5
"""Not reachable, throttled, or the lake is held: the one exit code for which trying again can help."""


def ens_images(*arguments: str) -> None:
    """Run a command: what it says goes to the task's log, its exit code decides whether trying again can help."""
    command = [os.environ.get("ENS_IMAGES", "ens-images"), *arguments]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(done.stdout)
    if done.returncode == TRY_LATER:
        raise AirflowException(f"{command} ended with {TRY_LATER}")
    if done.returncode:
        raise AirflowFailException(f"{command} ended with {done.returncode}")


@dag(
    schedule="17 2 * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,  # a day that is over cannot be listed any more
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": dt.timedelta(minutes=10)},
)
def ens_images_nightly() -> None:
    """List every account, keep the day; fail where an account is not fresh."""

    @task
    def run() -> None:
        ens_images("run")

    @task(trigger_rule="all_done", retries=0)
    def fresh() -> None:
        ens_images("status", "--max-age", "26h")

    run() >> fresh()


ens_images_nightly()
