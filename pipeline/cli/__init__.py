"""The same steps from a shell: one call a command, and no logic.

    ens-images run | rebuild | check | compact | prune | withdraw | restore
               sql | questions | report | diff | export | list | describe
               views | status | doctor | emulate | demo

Exit codes: 0 done · 1 our bug · 2 wrong usage, bad SQL, unknown view · 3 not certified, or shrunk: nothing
published for that account · 4 refused by the service · 5 not reachable, throttled, or the lake is held ·
6 the lake is missing or damaged · 7 what was compared differs · 8 not as fresh as was asked. Of several, the
largest. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.framework import (
    Commands,
    Summarised,
    complete_view,
    completes,
    effective_options,
    found_settings,
    option,
    origins,
    print_versions,
    unknown_variables,
)
from pipeline.errors import BadSetting, EnsImagesError, FixTheInput
from pipeline.settings import EXPORTS, span
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMATS = ("table", "csv", "json", "markdown")
LEVELS = ("unproven", "counted", "verified")  # certificate.LEVELS, without what it imports: a test compares


class Number(click.FloatRange):
    """A number that one can count with: `nan` and `inf` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number to count with", param, ctx)
        return number


class Lake(click.Path):
    """A folder, or a bucket: `s3://bucket/prefix`, `oss://bucket/prefix`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        return open_location(str(value)) if "://" in str(value) else super().convert(value, param, ctx)


class Here(click.Path):
    """A place on this machine: what is said of a bucket would be a folder called `s3:`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if "://" in str(value):
            self.fail(f"{str(value)!r} is no place on this machine: only --data can be a bucket", param, ctx)
        return super().convert(value, param, ctx)


class Span(click.types.StringParamType):
    """A span of time: `90d`, `26h`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, and leave it as it was said."""
        try:
            span(value)
        except BadSetting as error:
            self.fail(str(error), param, ctx)
        return value


data_option = option(
    "--data",
    type=Lake(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of the lake, or s3://BUCKET/PREFIX.",
)
format_option = option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How the rows are written.",
)


def profile_options(command: Any) -> Any:
    """The options of every command that is about accounts."""
    for add in (
        option(
            "--profiles-from",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="More profiles, a name a line; # begins a comment.",
        ),
        option(
            "--profile",
            "profiles",
            multiple=True,
            metavar="NAME",
            help="A profile of the vendor's file, or an account of the settings; again for more.",
        ),
    ):
        command = add(command)
    return command


as_of_option = option(
    "--as-of",
    metavar="WHEN",
    help="The lake as it was: at the end of a UTC day, at an instant, at the observation of a run; or `latest`.",
)


def service_options(command: Any) -> Any:
    """The options of every command that calls the service."""
    for add in (
        option("--rate", type=Number(min=0), default=20, show_default=True, help="Calls a second; 0: any."),
        option("--workers", type=click.IntRange(min=1), default=8, show_default=True, help="Calls at once."),
        profile_options,
        option("--allow-plain-http", is_flag=True, help="Call an http:// endpoint that is not on this machine too."),
        option("--endpoint", default="ens.aliyuncs.com", show_default=True, metavar="HOST|URL", help="Of ENS."),
    ):
        command = add(command)
    return command


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """How a run gets on; nothing where each call is told anyway."""
    from pipeline.reports.terminal import progress

    if click.get_current_context().meta.get("verbosity"):
        yield None
        return
    with progress() as shown:
        yield shown


EXAMPLES = {
    "run": (
        "ens-images run --profile prod --profile test",
        "ens-images run --config nightly.toml --summary out/summary.json",
    ),
    "rebuild": ("ens-images rebuild", "ens-images rebuild --into data-new"),
    "check": ("ens-images check --deep",),
    "compact": ("ens-images compact", "ens-images compact --grace 1d --dry-run"),
    "prune": ("ens-images prune --raw-older-than 90d --dry-run",),
    "withdraw": ("ens-images withdraw 20261123T020000.000000Z/prod",),
    "restore": ("ens-images restore 20261123T020000.000000Z/prod",),
    "sql": (
        'ens-images sql "from capacity_by_region"',
        'ens-images sql --format csv "select image_id, age_days from image_age where age_days > 365" > old.csv',
    ),
    "questions": ("ens-images questions", "ens-images questions 5 --format csv"),
    "report": (
        "ens-images report",
        "ens-images report --format markdown age_bands accounts",
        "ens-images report --html report.html",
        "ens-images report --as-of 2026-10-01",
    ),
    "diff": (
        "ens-images diff 2026-10-01 latest",
        "ens-images diff 2026-10-01 2026-11-01 --format csv > october.csv",
        "ens-images diff 20261123T020000.000000Z latest --account prod --exit-code",
    ),
    "export": ("ens-images export capacity_by_day trend.xlsx", "ens-images export --all out/reports --format csv"),
    "list": ("ens-images list --image-name web --format json", "ens-images list --profile prod --image-id m-5 --exact"),
    "describe": ("ens-images describe images", "ens-images describe --format markdown"),
    "views": ("ens-images views > views.sql",),
    "status": ("ens-images status", "ens-images status --max-age 26h --format json"),
    "doctor": ("ens-images doctor", "ens-images doctor --profile prod --format json"),
    "emulate": (
        "ens-images emulate --images 1037 --latency-ms 100",
        "ens-images emulate --fault deletions:p=0.2 --fault 503:times=3",
    ),
    "demo": ("ens-images demo", "ens-images demo --days 90 --data /tmp/demo"),
}


@click.group(
    cls=Commands, examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_versions, help="And exit.")
def commands() -> None:
    """Every image of every Alibaba Cloud ENS account, every day, in SQL.

    \b
      ens-images demo                                 try it: no credentials, no network
      ens-images run                                  list your account, keep the day
      ens-images report                               the standing reports
      ens-images sql "from capacity_by_region"        ask anything

    \b
    Exit codes: 0 done · 2 wrong usage, bad SQL, unknown view · 3 not certified, or shrunk: nothing
    published · 4 refused by the service · 5 not reachable, throttled, or the lake is held · 6 the
    lake is missing or damaged · 7 diff --exit-code: they differ · 8 not as fresh as was asked. Of
    several, the largest.
    """  # noqa: D301  (click takes the backspaces for "leave these lines alone")


@commands.command(cls=Summarised)
@data_option
@service_options
@option(
    "--certificate", type=click.Choice(LEVELS), default="verified", show_default=True, help="What a listing must prove."
)
@option(
    "--timeout", "timeout_seconds", type=Number(min=0, min_open=True), metavar="SECONDS", help="Time for the whole run."
)
@option(
    "--max-shrink",
    "max_shrink_percent",
    type=Number(0, 100),
    default=50,
    show_default=True,
    metavar="PERCENT",
    help="An account of which a larger share is gone is not published.",
)
@option("--accept-shrink", is_flag=True, help="Publish it all the same: what is gone is gone.")
@option(
    "--summary",
    type=Here(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what was done, as JSON: the accounts, each step, the exit code.",
)
@click.pass_context
def run(ctx: click.Context, /, data: Path, rate: float, **options: Any) -> None:
    """List every account, keep the pages, publish what is proven; then what the settings say (after_run).

    It ends by itself: an account is read at most 5 times over, no more is begun 60 s after the second, and it
    is given up when it is throttled for 60 s without one answer. A service that keeps answering, slowly or in
    small pages, is read to the end: --timeout ends that too.
    """
    from pipeline.jobs.scheduled import scheduled_run

    said, _ = found_settings()
    with _progress() as progress:
        night = scheduled_run(
            data,
            after=said.after_run,
            retention=effective_options(prune_command, "raw_older_than", "grace"),
            rate=rate or None,
            thresholds=said.thresholds,
            entries=said.accounts,
            progress=progress,
            signalled=lambda: _Ended.by,
            **options,
        )
    click.echo(str(night), err=True)
    ctx.exit(night.exit_code)


@commands.command()
@data_option
@option("--into", type=Lake(file_okay=False, path_type=Path), help="Build a whole new lake in this folder.")
def rebuild(data: Path, into: Path | None) -> None:
    """Add what the lake lacks, from the raw pages, by the decisions of the runs that landed them."""
    from pipeline.jobs import rebuild as rebuild_job

    runs = rebuild_job.rebuild(data, into=into)
    click.echo(f"{len(runs)} runs published in {str(into or data)!r}", err=True)


@commands.command("check")
@data_option
@option("--deep", is_flag=True, help="Build every run again from its raw pages, and compare every row.")
def check_command(data: Path, deep: bool) -> None:  # noqa: FBT001  (click calls it)
    """Check that the lake is intact: every file, key, count and certificate."""
    from pipeline.lake.check import check

    checked = check(data, deep=deep)
    click.echo(str(checked), err=True)
    checked.raise_if_damaged()


def grace_option(command: Any) -> Any:
    """How long files stay after nothing reads them any more."""
    help_text = "Keep the files of what goes for this long."
    return option("--grace", type=Span(), default="7d", show_default=True, metavar="SPAN", help=help_text)(command)


def dry_run_option(command: Any) -> Any:
    """Show what would change."""
    return option("--dry-run", is_flag=True, help="Change nothing; print what would change.")(command)


@commands.command("compact")
@data_option
@grace_option
@dry_run_option
def compact_command(data: Path, **options: Any) -> None:
    """Turn daily copies into versions, so that history costs what changes; a run does it when needed."""
    from pipeline.jobs.compaction import compact

    click.echo(str(compact(data, **options)), err=True)


@commands.command("prune")
@data_option
@option("--raw-older-than", type=Span(), metavar="SPAN", help="Raw pages of days longer ago than this, such as 90d.")
@grace_option
@dry_run_option
def prune_command(data: Path, **options: Any) -> None:
    """Expire raw pages by age, and delete files past their grace period."""
    from pipeline.jobs.retention import prune

    click.echo(str(prune(data, **options)), err=True)


@commands.command("withdraw")
@click.argument("observation", metavar="RUN/ACCOUNT")
@data_option
@grace_option
@dry_run_option
def withdraw_command(data: Path, observation: str, **options: Any) -> None:
    """Take back an observation that is known to be wrong; `restore` undoes it within the grace period."""
    from pipeline.jobs.withdrawal import withdraw

    click.echo(str(withdraw(data, observation, **options)), err=True)


@commands.command("restore")
@click.argument("observation", metavar="RUN/ACCOUNT")
@data_option
@dry_run_option
def restore_command(data: Path, observation: str, **options: Any) -> None:
    """Undo a withdrawal."""
    from pipeline.jobs.withdrawal import restore

    click.echo(str(restore(data, observation, **options)), err=True)


@commands.command()
@data_option
@format_option
@as_of_option
@option("--allow-files", is_flag=True, help="Let QUERY read and write other files too, and load extensions.")
@click.argument("query", required=False)
def sql(data: Path, output_format: Any, query: str | None, as_of: str | None, *, allow_files: bool) -> None:
    """Ask the lake QUERY, or what stands on standard input; of several statements the last one answers.

    It can read the lake, and nothing else.
    """
    from pipeline.reports.formats import write_rows
    from pipeline.reports.provenance import provenance_line
    from pipeline.reports.query import query as ask
    from pipeline.views.connection import connect

    text = query if query is not None else sys.stdin.read()
    thresholds = found_settings()[0].thresholds
    with contextlib.closing(connect(data, as_of=as_of, only_lake=not allow_files, thresholds=thresholds)) as lake:
        write_rows(ask(lake, text, only_reads=not allow_files), output_format, sys.stdout)
        click.echo(provenance_line(lake), err=True)


@commands.command("report")
@data_option
@format_option
@as_of_option
@option(
    "--html",
    type=Here(path_type=Path),
    metavar="FILE",
    help="Write them as a page instead: one file with charts, to mail or print; - is standard output.",
)
@click.argument("views", nargs=-1, shell_complete=complete_view)
def report_command(data: Path, output_format: Any, html: Path | None, views: Sequence[str], as_of: str | None) -> None:
    """Print the standing reports: capacity, ages, what changed, what failed, what could go; or the given VIEWS."""
    from pipeline.reports.report import report
    from pipeline.views.connection import connect

    if html is not None:
        said = click.get_current_context().get_parameter_source("output_format")
        if views or said is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--html writes every standing report as a page: it takes no view and no --format")
        _write_page(data, html, as_of)
        return
    with contextlib.closing(connect(data, as_of=as_of, thresholds=found_settings()[0].thresholds)) as lake:
        report(lake, views, output_format=output_format, out=sys.stdout, err=sys.stderr)


@commands.command("diff")
@data_option
@format_option
@option("--account", "accounts", of="diff", multiple=True, metavar="NAME", help="This account alone; again for more.")
@option("--exit-code", "asks_code", of="diff", is_flag=True, help="End with 7 where anything differs.")
@click.argument("old", metavar="FROM")
@click.argument("new", metavar="[TO]", default="latest")
def diff_command(
    data: Path, output_format: Any, old: str, new: str, accounts: Sequence[str], *, asks_code: bool
) -> None:
    """Tell what differs between FROM and TO: images that appeared, went and changed, and the capacity by region.

    Each is a UTC day (its end), an instant, the run_id of an observation, or `latest`, which TO is if it is not said.
    An image is gone or has appeared only where that is proven; else it is unseen or seen.
    """
    from pipeline.reports.diff import diff, raise_if_different
    from pipeline.reports.diff.render import write_diff

    with diff(old, new, data, accounts=accounts) as found:
        write_diff(found, output_format, sys.stdout, sys.stderr)
        if asks_code:
            raise_if_different(found)


@commands.command()
@data_option
@as_of_option
@option(
    "--all",
    "folder",
    of="export",
    type=Here(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every standing report into DIR, with a manifest.",
)
@option(
    "--format",
    "formats",
    of="export",
    multiple=True,
    type=click.Choice(EXPORTS),
    default=("csv",),
    show_default=True,
    help="With --all: the files of each report; again for more.",
)
@click.argument("view", required=False, shell_complete=complete_view)
@click.argument("file", required=False, type=Here(dir_okay=False, path_type=Path))
def export(
    data: Path, folder: Path | None, formats: Sequence[str], view: str | None, file: Path | None, as_of: str | None
) -> None:
    """Write a table or VIEW to FILE: .csv, .json, .parquet or .xlsx, by its suffix; or all reports to a folder."""
    from pipeline.jobs import export as export_job

    thresholds = found_settings()[0].thresholds
    if folder is not None and view is None:
        manifest, trust = export_job.export_all(folder, data, formats=formats, as_of=as_of, thresholds=thresholds)
        click.echo(f"{len(manifest['files'])} files and their manifest in {str(folder)!r}\n{trust}", err=True)
    elif view is not None and file is not None and folder is None:
        rows, trust = export_job.export(view, file, data, as_of=as_of, thresholds=thresholds)
        click.echo(f"{rows:,} rows of {view} in {str(file)!r}\n{trust}", err=True)
    else:
        raise click.UsageError("say a VIEW and a FILE, or --all DIR")


@commands.command("list")
@service_options
@format_option
@option("--image-id", metavar="TEXT", help="Images whose id contains this.")
@option("--image-name", metavar="TEXT", help="Images whose name contains this.")
@option("--snapshot-id", metavar="TEXT", help="Images made from this disk snapshot.")
@option("--exact", is_flag=True, help="The filters mean the whole value, letter by letter.")
def list_command(output_format: Any, rate: float, profiles: Any, profiles_from: Any, **options: Any) -> None:
    """List images live, by the API's own filters; nothing is stored."""
    from pipeline.jobs import accounts as accounts_job
    from pipeline.jobs import list as list_job
    from pipeline.reports.formats import write_rows

    accounts = accounts_job.select_accounts(profiles, profiles_from, found_settings()[0].accounts)
    rows, trust = list_job.list_images(rate=rate or None, accounts=accounts, **options)
    write_rows(rows, output_format, sys.stdout)
    click.echo(trust, err=True)


@commands.command()
@format_option
@click.argument("name", required=False, metavar="[TABLE_OR_VIEW]", shell_complete=complete_view)
def describe(output_format: Any, name: str | None) -> None:
    """Tell what a row is and what the columns mean, with an example. Markdown without a name is the data dictionary."""
    from pipeline.reports.dictionary import write_description

    write_description(name, output_format, sys.stdout)


@commands.command()
@data_option
@format_option
@as_of_option
@click.argument("number", required=False, type=int)
def questions(data: Path, output_format: Any, number: int | None, as_of: str | None) -> None:
    """Tell what one asks of images, and what answers it; with a NUMBER, answer that question."""
    from pipeline.reports import questions as asked
    from pipeline.reports.formats import write_rows
    from pipeline.reports.provenance import provenance_line
    from pipeline.reports.query import query as ask
    from pipeline.views.connection import connect

    if number is None:
        if output_format == "markdown":
            click.echo(asked.document(), nl=False)
        else:
            write_rows(asked.listed(), output_format, sys.stdout)
        return
    one = asked.question(number)
    with contextlib.closing(connect(data, as_of=as_of, thresholds=found_settings()[0].thresholds)) as lake:
        click.echo(f"{one.number}. {one.words}{f' {one.note}' if one.note else ''}\n\n{one.sql}\n", err=True)
        write_rows(ask(lake, one.sql), output_format, sys.stdout)
        click.echo(provenance_line(lake), err=True)


@commands.command("views")
@data_option
@as_of_option
@option(
    "--engine",
    of="views",
    type=click.Choice(["duckdb", "spark"]),
    default="duckdb",
    help="Whose SQL; Spark's has no tables: `pipeline.spark.register` makes them.",
)
def views_command(data: Path, as_of: str | None, engine: str) -> None:
    """Print the SQL that gives any DuckDB these tables and views, or a Spark session the views."""
    if engine == "spark":
        from pipeline.spark import views_spark_sql

        if as_of is not None:
            raise click.UsageError("--engine spark shows the lake as it is now: --as-of is for DuckDB")
        click.echo(views_spark_sql(), nl=False)
        return
    from pipeline.views.script import views_sql

    click.echo(views_sql(data, as_of=as_of, thresholds=found_settings()[0].thresholds), nl=False)


@commands.command("status")
@data_option
@format_option
@profile_options
@option(
    "--max-age",
    type=Span(),
    metavar="SPAN",
    help="End with 8 where an account is older, such as 26h, or has failed since.",
)
def status_command(data: Path, output_format: Any, max_age: str | None, **chosen: Any) -> None:
    """Tell how fresh each account is: its last observation, the certificate, and the failures since."""
    from pipeline.jobs import accounts as accounts_job
    from pipeline.jobs.status import status
    from pipeline.reports.formats import write_rows

    entries = found_settings()[0].accounts
    is_chosen = bool(entries or any(chosen.values()))
    labels = (
        [account.label for account in accounts_job.select_accounts(**chosen, entries=entries)] if is_chosen else None
    )
    rows, late = status(data, max_age=max_age, labels=labels)
    write_rows(rows, output_format, sys.stdout)
    if late:
        raise late


@commands.command("doctor")
@data_option
@service_options
@format_option
def doctor_command(data: Path, output_format: Any, endpoint: str, *, allow_plain_http: bool, **options: Any) -> None:
    """Check what must be right before a run can be, in order, and name the first thing to mend.

    It needs no credentials as far as it can go, shows none, and changes nothing.
    """
    from pipeline.jobs import accounts as accounts_job
    from pipeline.jobs import doctor
    from pipeline.reports.formats import write_rows

    said, _ = found_settings()
    chosen = {name: options[name] for name in ("profiles", "profiles_from")}
    findings = doctor.examine(
        data,
        accounts=lambda: accounts_job.select_accounts(**chosen, entries=said.accounts),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        settings=origins(),
        unknown=unknown_variables(),
        folders=said.folders(),
        extras=said.extras(),
    )
    if output_format == "table":
        click.echo(doctor.as_lines(findings))
    else:
        write_rows(doctor.as_rows(findings), output_format, sys.stdout)
    wrong = doctor.first_to_mend(findings)
    if wrong:
        raise wrong


@commands.command()
@option("--images", of="emulate", type=click.IntRange(min=0), default=143, show_default=True, help="Images on day 0.")
@option("--seed", of="emulate", type=int, default=1, show_default=True, help="The same seed makes the same account.")
@option(
    "--day",
    of="emulate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The account as it is on that day.",
)
@option(
    "--file",
    of="emulate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Images as the API spells them.",
)
@option("--port", of="emulate", type=click.IntRange(0, 65535), default=8017, show_default=True, help="0: a free one.")
@option(
    "--latency-ms",
    of="emulate",
    type=Number(min=0),
    default=0,
    show_default=True,
    help="Each answer is so late.",
)
@option(
    "--qps",
    of="emulate",
    type=Number(min=0, min_open=True),
    help="More calls a second than this are throttled.",
)
@option(
    "--refuse-large-pages", of="emulate", is_flag=True, help="Refuse a PageSize above 50 instead of cutting it to 50."
)
@option("--older-signatures", of="emulate", is_flag=True, help="Accept HMAC-SHA1 too, the signature of older clients.")
@option(
    "--key",
    "keys",
    of="emulate",
    multiple=True,
    metavar="ID:SECRET",
    help="An account; repeatable.  [default: emulator:emulator]",
)
@option(
    "--fault",
    "faults",
    of="emulate",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="Go wrong on purpose; --list-faults.",
)
@click.option("--list-faults", is_flag=True, help="Tell what can go wrong, and exit.")
def emulate(*, list_faults: bool, **options: Any) -> None:
    """Serve a local ENS endpoint on 127.0.0.1 until Ctrl-C: try the pipeline, or a tool of yours, against it."""
    from pipeline.jobs import emulate as emulate_job

    if list_faults:
        for name, meaning in emulate_job.faults().items():
            click.echo(f"{name:18}{meaning}")
        return
    emulate_job.emulate(**options, told=lambda line: click.echo(line, err=True))


@commands.command()
@option(
    "--data",
    of="demo",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data") / "demo",
    show_default=True,
    help="Folder of the demo's lake, made anew.",
)
@option("--days", of="demo", type=click.IntRange(1, 400), default=30, show_default=True, help="Days to live through.")
@option(
    "--images", of="demo", type=click.IntRange(min=0), default=143, show_default=True, help="Images on the first day."
)
def demo(data: Path, days: int, images: int) -> None:
    """Live through a month of a made account on a local endpoint, a real run a day, and print the reports."""
    from pipeline.jobs import demo as demo_job
    from pipeline.reports.html import missing_packages, write_page
    from pipeline.reports.report import report
    from pipeline.views.connection import connect

    demo_job.demo(data, days=days, images=images, told=lambda line: click.echo(line, err=True))
    with contextlib.closing(connect(data)) as lake:
        report(lake, out=sys.stdout, err=sys.stderr)
        is_drawn = not missing_packages()
        if is_drawn:
            write_page(lake, data / "report.html")
    click.echo(demo_job.what_next(data, _program()))
    if is_drawn:
        click.echo(f"The same as a page, with charts: {data}/report.html")


def _write_page(data: Path, file: Path, as_of: str | None) -> None:
    from pipeline.reports.html import write_page
    from pipeline.reports.provenance import provenance_line
    from pipeline.views.connection import connect

    with contextlib.closing(connect(data, as_of=as_of, thresholds=found_settings()[0].thresholds)) as lake:
        write_page(lake, file)
        where = "on standard output" if str(file) == "-" else f"in {str(file)!r}: open it in any browser"
        click.echo(f"a page {where}\n{provenance_line(lake)}", err=True)


def _program() -> str:
    """How the user can call this program from where they are: it may lie in a `.venv` that is not on the path."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "ens-images" or shutil.which("ens-images") == str(called):
        return "ens-images"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and end the process with its exit code: no traceback but for our own mistakes."""
    if sys.platform == "linux":
        # What one thread reads another writes and lets go. Arrow's own choice, mimalloc, keeps much of that for the
        # thread that had it first: 130 MB of 610 at a million images.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    with _without_frames():
        code = _exit_code(arguments)
    sys.exit(code)


class _LeftOut:
    def find_spec(self, name: str, *_: object) -> None:
        if name in {"pandas", "numpy"}:
            raise ModuleNotFoundError(f"a command of ens-images leaves {name} out", name=name)


@contextlib.contextmanager
def _without_frames() -> Iterator[None]:
    """Tell every import that there is neither pandas nor NumPy: no command needs them.

    pyarrow imports NumPy at once and pandas as soon as it meets a Python value, and is content without: 0.5 s of
    processor time, half of what listing a small account takes.
    """
    finder: Any = _LeftOut()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Ended:
    """Which signal a KeyboardInterrupt stands for."""

    by = signal.SIGINT


def _exit_code(arguments: Sequence[str] | None) -> int:
    _Ended.by = signal.SIGINT

    def on_term(*_: object) -> None:
        _Ended.by = signal.SIGTERM
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a shell script
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # asyncio ends cleanly on this one

    signal.signal(signal.SIGTERM, on_term)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name can show its code
    try:
        if (answered := completes(commands)) is not None:
            return answered
        with commands.make_context("ens-images", list(sys.argv[1:] if arguments is None else arguments)) as context:
            commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return FixTheInput.exit_code
    except EnsImagesError as error:
        _tell_of(str(error.run) if error.run else f"error: {type(error).__name__}: {error}")
        return error.exit_code if error.run is None else int(error.run.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped: nothing half-done was published", err=True)
        return 128 + _Ended.by
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{str(error.filename)!r}: " if error.filename is not None else ""
        _tell_of(f"error: {where}{error.strerror}: give a place that this user can write to, with room on it")
        return FixTheInput.exit_code
    return 0


def _tell_of(trouble: str) -> None:
    """Say it on stderr: it repeats what the service said, or what a file holds, so nothing in it is obeyed."""
    from pipeline.text import escape_control

    for line in trouble.split("\n"):
        click.echo(escape_control(line), err=True)
