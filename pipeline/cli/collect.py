"""Commands that read the accounts: run, list, status, doctor."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.cli.exit_codes import ending_signal
from pipeline.cli.framework import Command, command
from pipeline.cli.maintain import prune_command
from pipeline.cli.options import (
    LEVELS,
    FiniteNumber,
    LocalPath,
    Span,
    data_option,
    delta_option,
    format_option,
    lock_option,
    option,
    profile_options,
    service_options,
    timeout_option,
)
from pipeline.cli.settings_source import current_settings, default_options, origins, unknown_variables
from pipeline.errors import EnsImagesError
from pipeline.resources.tables import RESOURCES
from pipeline.settings import paths_of_invalid_file

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOURCE_NAMES: Final = [resource.name for resource in RESOURCES]
ALL: Final = "all"
FILTERS: Final = {
    column: [resource.name for resource in RESOURCES if column in dict(resource.action.filters)]
    for resource in RESOURCES
    for column, _ in resource.action.filters
}
"""The columns that the API filters by → the resources that have them."""


class RunCommand(Command):
    """The command `run`: it writes --summary even where the command line or the settings are wrong.

    A monitor must not take the summary of yesterday for that of today.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parse the command line; write the summary where that fails."""
        words = list(args)  # click consumes `args`
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except (click.ClickException, EnsImagesError) as error:
            lenient: dict[str, Any] = {
                "resilient_parsing": True,
                "ignore_unknown_options": True,
                "allow_extra_args": True,
            }
            with super().make_context(info_name, words, **lenient) as ctx:
                _report_failed_start(ctx, error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run; write the summary where an error comes before the first step."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, EnsImagesError) as error:
            _report_failed_start(ctx, error)
            raise


def _report_failed_start(ctx: click.Context, error: Exception) -> None:
    """Write the summary of a run that did not start, if the command line or the settings file says where."""
    from_file = paths_of_invalid_file(ctx.meta.get("config"))
    summary = ctx.params.get("summary") or from_file.get("summary")
    if summary is None:
        return
    from pipeline.jobs.scheduled import write_failed_start

    message = error.format_message() if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(EnsImagesError, OSError):  # the error itself is printed in any case
        write_failed_start(Path(summary), ctx.params.get("data") or from_file.get("data") or "data", message)


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """Show the progress of a run; nothing with --verbose, which logs each call."""
    from pipeline.reports.terminal import progress

    if click.get_current_context().meta.get("verbosity"):
        yield None
        return
    with progress() as bar:
        yield bar


@command(
    cls=RunCommand,
    examples=(
        "ens-images run --profile prod --profile test",
        "ens-images run --config nightly.toml --summary out/summary.json",
    ),
)
@data_option
@lock_option
@service_options
@option(
    "--certificate",
    type=click.Choice(LEVELS),
    default="verified",
    show_default=True,
    help="Completeness that a listing must prove.",
)
@option("--strict", is_flag=True, help="Ask twice for an account of one page, too.")
@timeout_option
@option(
    "--max-shrink",
    "max_shrink_percent",
    type=FiniteNumber(0, 100),
    default=50,
    show_default=True,
    metavar="PERCENT",
    help="Do not publish a resource of which an account lost a larger share.",
)
@option(
    "--accept-shrink",
    is_flag=False,
    flag_value=ALL,
    multiple=True,
    type=click.Choice([*RESOURCE_NAMES, ALL]),
    help="Publish such an account all the same; with a name only that resource, repeatable.",
)
@option(
    "--resource",
    "resources",
    multiple=True,
    type=click.Choice(RESOURCE_NAMES),
    help="List this resource; repeatable.  [default: all that the account may list]",
)
@delta_option
@option(
    "--share-check",
    is_flag=True,
    help="Ask who the images are shared with that a clean-up would name: a call each.",
)
@option(
    "--summary",
    type=LocalPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a summary as JSON: accounts, steps, exit code.",
)
@click.pass_context
def run(ctx: click.Context, /, data: Path, rate: float, accept_shrink: tuple[str, ...], **options: Any) -> None:
    """List every account, land the raw pages, publish what is proven.

    Then it does the steps of [after_run] in the settings file.

    A run ends by itself: an account is listed at most 5 times over, no listing is begun 60 s after the second, and
    an account is given up when it is throttled for 60 s without one answer. A service that keeps answering, slowly
    or in small pages, is read for 4 times what the announced pages take at --rate, and 10 minutes, but not longer
    than a day; --timeout replaces that limit. One call ends 30 s after it was sent.
    """
    from pipeline.jobs.scheduled import scheduled_run

    settings = current_settings()
    with _progress() as progress:
        scheduled = scheduled_run(
            data,
            after=settings.after_run,
            retention=default_options(prune_command, "raw_older_than", "daily_older_than", "grace"),
            rate=rate or None,
            accept_shrink=True if ALL in accept_shrink else accept_shrink,
            thresholds=settings.thresholds,
            entries=settings.accounts,
            progress=progress,
            ending_signal=ending_signal,
            **options,
        )
    click.echo(str(scheduled), err=True)
    ctx.exit(scheduled.exit_code)


def filter_options(command: Any) -> Any:
    """Add an option for each filter of the API."""
    for column, resources in reversed(FILTERS.items()):
        doc = f"{column.replace('_', ' ').capitalize()} contains TEXT: of {' and '.join(resources)}."
        add = option(f"--{column.replace('_', '-')}", metavar="TEXT", help=doc)
        command = add(command)
    return command


@command(
    "list",
    examples=(
        "ens-images list --image-name web --format json",
        "ens-images list --profile prod --image-id m-5 --exact",
        "ens-images list --resource instances --image-id m-5",
    ),
)
@service_options
@timeout_option
@format_option
@filter_options
@option("--exact", is_flag=True, help="Match the whole value, with case, instead of a part.")
@option(
    "--resource",
    scope="list",
    type=click.Choice(RESOURCE_NAMES),
    default=RESOURCE_NAMES[0],
    show_default=True,
    help="What is listed.",
)
def list_command(output_format: Any, rate: float, profiles: Any, profiles_from: Any, **options: Any) -> None:
    """List one resource live, such as images; store nothing.

    The filters are those of the API.
    """
    from pipeline.jobs import list as list_job
    from pipeline.jobs.accounts import select_accounts
    from pipeline.reports.formats import write_rows

    accounts = select_accounts(profiles, profiles_from, current_settings().accounts)
    filters = {name: value for name in FILTERS if (value := options.pop(name)) is not None}
    rows, provenance = list_job.list_live(rate=rate or None, accounts=accounts, filters=filters, **options)
    write_rows(rows, output_format, sys.stdout)
    click.echo(provenance, err=True)


@command("status", examples=("ens-images status", "ens-images status --max-age 26h --format json"))
@data_option
@format_option
@profile_options
@option(
    "--max-age",
    type=Span(),
    metavar="SPAN",
    help="End with 8 if an account is older than SPAN, such as 26h, or failed since.",
)
def status_command(data: Path, output_format: Any, max_age: str | None, **selection: Any) -> None:
    """Show how fresh each account is.

    That is its last observation, the age and the certificate of that, and the failures since.
    """
    from pipeline.jobs.accounts import select_accounts
    from pipeline.jobs.status import delta_log_notes, folder_notes, runs_ahead, runs_without_tables, status
    from pipeline.lake.compaction.compact import needs_compaction
    from pipeline.lake.foreign_files import foreign_files
    from pipeline.lake.layout import command as lake_command
    from pipeline.reports.formats import write_rows
    from pipeline.storage.store import open_location
    from pipeline.text import pluralize

    entries = current_settings().accounts
    is_selective = bool(entries or any(selection.values()))
    labels = [account.label for account in select_accounts(**selection, entries=entries)] if is_selective else None
    rows, not_fresh = status(data, max_age=max_age, labels=labels)
    write_rows(rows, output_format, sys.stdout)
    foreign = foreign_files(open_location(data))
    if foreign:
        count = pluralize(len(foreign), "file or folder", "files or folders")
        click.echo(f"in lake/ and raw/: {count} of other tools, not read; `ens-images check` names them", err=True)
    if needs_compaction(open_location(data)):
        click.echo(f"a compaction is due: {lake_command(data, 'compact')} writes it, or says why it cannot", err=True)
    notes = folder_notes(data, has_retention=current_settings().daily_older_than is not None)
    for line in (*runs_without_tables(data), *runs_ahead(data), *notes, *delta_log_notes(data)):
        click.echo(line, err=True)
    if not_fresh:
        raise not_fresh


@command("doctor", examples=("ens-images doctor", "ens-images doctor --profile prod --format json"))
@data_option
@lock_option
@service_options
@format_option
def doctor_command(data: Path, output_format: Any, endpoint: str, *, allow_plain_http: bool, **options: Any) -> None:
    """Check what a run depends on, and name the first thing to fix.

    It runs without credentials as far as it can, shows no secret, and changes nothing.
    """
    from pipeline.jobs import doctor
    from pipeline.jobs.accounts import select_accounts
    from pipeline.reports.formats import write_rows

    settings = current_settings()
    selection = {name: options[name] for name in ("profiles", "profiles_from")}
    findings = doctor.examine(
        data,
        accounts=lambda: select_accounts(**selection, entries=settings.accounts),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        settings=origins(),
        unknown=unknown_variables(),
        folders=settings.folders(),
        extras=settings.extras(),
        resources=default_options(run, "resources")["resources"],
    )
    if output_format == "table":
        click.echo(doctor.as_lines(findings))
    else:
        write_rows(doctor.as_rows(findings), output_format, sys.stdout)
    error = doctor.first_to_fix(findings)
    if error:
        raise error
