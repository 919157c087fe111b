"""Commands that maintain the lake: rebuild, check, compact, prune, withdraw, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.framework import command
from pipeline.cli.options import (
    LakeLocation,
    Span,
    data_option,
    delta_option,
    dry_run_option,
    grace_option,
    lock_option,
    option,
)
from pipeline.text import pluralize


@command(examples=("ens-images rebuild", "ens-images rebuild --into data-new", "ens-images rebuild --redact"))
@data_option
@lock_option
@option("--into", type=LakeLocation(file_okay=False, path_type=Path), help="Build a complete new lake in this folder.")
@option("--redact", is_flag=True, help="Remove secrets that an older version stored; delete what is replaced at once.")
@delta_option
def rebuild(data: Path, into: Path | None, *, redact: bool, delta: bool) -> None:
    """Publish what the lake lacks, from the raw pages.

    The decisions are those of the runs that landed the pages.
    """
    from pipeline.jobs import rebuild as rebuild_job
    from pipeline.jobs.redaction import redact_lake

    if redact and into is not None:
        raise click.UsageError("--redact works on a lake where it is: give it without --into")
    runs = rebuild_job.rebuild(data, into=into, delta=delta)
    click.echo(f"{pluralize(len(runs), 'run')} published in {str(into or data)!r}", err=True)
    if redact:
        files = redact_lake(data)
        click.echo(f"{pluralize(len(files), 'file')} written anew without secrets in {str(data)!r}", err=True)


@command("check", examples=("ens-images check --deep",))
@data_option
@option("--deep", is_flag=True, help="Rebuild every run from its raw pages, and compare it row by row.")
def check_command(data: Path, *, deep: bool) -> None:
    """Verify the lake: every file, key, count and certificate."""
    from pipeline.lake.check import check

    result = check(data, deep=deep)
    click.echo(str(result), err=True)
    result.raise_if_damaged()


@command("compact", examples=("ens-images compact", "ens-images compact --grace 1d --dry-run"))
@data_option
@lock_option
@grace_option
@dry_run_option
def compact_command(data: Path, **options: Any) -> None:
    """Turn daily copies into versions.

    Then the history costs what changes. A run compacts by itself when needed.
    """
    from pipeline.jobs.compaction import compact

    click.echo(str(compact(data, **options)), err=True)


@command(
    "prune",
    examples=("ens-images prune --raw-older-than 90d --dry-run", "ens-images prune --daily-older-than 400d --dry-run"),
)
@data_option
@lock_option
@option("--raw-older-than", type=Span(), metavar="SPAN", help="Expire raw pages older than SPAN, such as 90d.")
@option(
    "--daily-older-than",
    type=Span(),
    metavar="SPAN",
    help="Expire compacted days older than SPAN in the Parquet folders; the views go on to show them.",
)
@grace_option
@dry_run_option
def prune_command(data: Path, **options: Any) -> None:
    """Expire old raw pages and old days of the folders.

    Files past their grace period are deleted.
    """
    from pipeline.jobs.retention import prune

    click.echo(str(prune(data, **options)), err=True)


@command("withdraw", examples=("ens-images withdraw 20261123T020000.000000Z/prod",))
@click.argument("observation", metavar="RUN/ACCOUNT[/RESOURCE]")
@data_option
@lock_option
@grace_option
@dry_run_option
def withdraw_command(data: Path, observation: str, **options: Any) -> None:
    """Take back an observation that is known to be wrong.

    Without a resource, all that the run lists of the account. `restore` undoes it within the grace period.
    """
    from pipeline.jobs.withdrawal import withdraw

    click.echo(str(withdraw(data, observation, **options)), err=True)


@command("restore", examples=("ens-images restore 20261123T020000.000000Z/prod",))
@click.argument("observation", metavar="RUN/ACCOUNT[/RESOURCE]")
@data_option
@lock_option
@dry_run_option
def restore_command(data: Path, observation: str, **options: Any) -> None:
    """Undo a withdrawal."""
    from pipeline.jobs.withdrawal import restore

    click.echo(str(restore(data, observation, **options)), err=True)
