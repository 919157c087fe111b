"""Run ens-images daily in Airflow, then check that every account is fresh.

`ens-images` is installed in its own virtual environment: ENS_IMAGES is the path of its command, ENS_IMAGES_CONFIG that
of its settings. Nothing is imported from it, so its dependencies do not conflict with Airflow's.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

TRY_LATER = 5
"""Unreachable, throttled, or the lake is locked: the only exit code for which a retry can help."""


def ens_images(*arguments: str) -> None:
    """Run a command, print its output to the task's log, and map its exit code to retry or failure."""
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
    catchup=False,  # a past day cannot be listed any more
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": dt.timedelta(minutes=10)},
)
def ens_images_daily() -> None:
    """List every account; fail if an account is not fresh."""

    @task
    def run() -> None:
        ens_images("run")

    @task(trigger_rule="all_done", retries=0)
    def fresh() -> None:
        ens_images("status", "--max-age", "26h")

    run() >> fresh()


ens_images_daily()
