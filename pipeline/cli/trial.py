"""Commands to try the pipeline without an account: emulate, demo."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli.framework import command
from pipeline.cli.options import FiniteNumber, LocalPath, option


@command(
    examples=(
        "ens-images emulate --images 1037 --latency-ms 100",
        "ens-images emulate --fault deletions:p=0.2 --fault 503:times=3",
        "ens-images emulate --instances 60 --fault throttling:action=DescribeInstances",
    )
)
@option(
    "--images", scope="emulate", type=click.IntRange(min=0), default=143, show_default=True, help="Images on day 0."
)
@option(
    "--instances",
    scope="emulate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Instances on day 0; they run from the images.",
)
@option("--seed", scope="emulate", type=int, default=1, show_default=True, help="The same seed makes the same account.")
@option(
    "--day",
    scope="emulate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Serve the account as it is on this day.",
)
@option(
    "--file",
    scope="emulate",
    type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="Serve these images and instances: JSON, spelled as by the API.",
)
@option(
    "--port", scope="emulate", type=click.IntRange(0, 65535), default=8017, show_default=True, help="0: a free port."
)
@option(
    "--latency-ms",
    scope="emulate",
    type=FiniteNumber(min=0),
    default=0,
    show_default=True,
    help="Delay of each answer.",
)
@option("--qps", scope="emulate", type=FiniteNumber(min=0, min_open=True), help="Throttle above this rate per second.")
@option(
    "--refuse-large-pages",
    scope="emulate",
    is_flag=True,
    help="Refuse a PageSize above the limit (images 50, instances 100) instead of cutting it.",
)
@option(
    "--older-signatures",
    scope="emulate",
    is_flag=True,
    help="Accept HMAC-SHA1 too, the signature of older clients.",
)
@option(
    "--key",
    "keys",
    scope="emulate",
    multiple=True,
    metavar="ID:SECRET",
    help="An account; repeatable.  [default: emulator:emulator]",
)
@option(
    "--deny",
    "denied",
    scope="emulate",
    multiple=True,
    metavar="ACTION",
    help="Answer NoPermission to this action, such as DescribeInstances; repeatable.",
)
@option(
    "--fault",
    "faults",
    scope="emulate",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="Inject a fault; repeatable; see --list-faults.",
)
@click.option("--list-faults", is_flag=True, help="List the faults, and exit.")
def emulate(*, list_faults: bool, **options: Any) -> None:
    """Serve a local ENS endpoint on 127.0.0.1, until Ctrl-C.

    Try the pipeline or another tool against it.
    """
    from pipeline.jobs import emulate as emulate_job

    if list_faults:
        for name, meaning in emulate_job.faults().items():
            click.echo(f"{name:18}{meaning}")
        return
    emulate_job.emulate(**options, print_line=lambda line: click.echo(line, err=True))


@command(examples=("ens-images demo", "ens-images demo --days 90 --data /tmp/demo"))
@option(
    "--data",
    scope="demo",
    type=LocalPath(file_okay=False, path_type=Path),
    default=Path("data") / "demo",
    show_default=True,
    help="Folder of the demo's lake; emptied first.",
)
@option("--days", scope="demo", type=click.IntRange(1, 400), default=30, show_default=True, help="Days to generate.")
@option(
    "--images",
    scope="demo",
    type=click.IntRange(min=0),
    default=143,
    show_default=True,
    help="Images on the first day.",
)
@option(
    "--instances",
    scope="demo",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="Instances on the first day.",
)
def demo(data: Path, days: int, images: int, instances: int) -> None:
    """Collect a month of a generated account; print the reports.

    The account is served by a local endpoint, and every day is a real run.
    """
    from pipeline.jobs import demo as demo_job
    from pipeline.reports.html import missing_packages, write_page
    from pipeline.reports.report import report
    from pipeline.views.connection import connect

    demo_job.demo(
        data, days=days, images=images, instances=instances, print_line=lambda line: click.echo(line, err=True)
    )
    with contextlib.closing(connect(data)) as lake:
        report(lake, out=sys.stdout, err=sys.stderr)
        can_draw = not missing_packages()
        if can_draw:
            write_page(lake, data / "report.html")
    click.echo(demo_job.next_steps(data, _program()))
    if can_draw:
        click.echo(f"The same as a page, with charts: {data}/report.html")


def _program() -> str:
    """Return the shortest way to call this program from here: it may lie in a `.venv` that is not on the PATH."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "ens-images" or shutil.which("ens-images") == str(program):
        return "ens-images"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)
