"""Commands that read the lake: sql, questions, report, diff, export, describe, views."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.completion import complete_view
from pipeline.cli.framework import command
from pipeline.cli.options import LocalPath, MemorySize, as_of_option, data_option, format_option, option
from pipeline.cli.settings_source import current_settings
from pipeline.cli.streams import prepare_data
from pipeline.reports.formats import export_formats, is_binary
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def _open_lake(data: Path, as_of: str | None, **options: Any) -> Iterator[Any]:
    """Connect to the lake, with the thresholds of the settings file."""
    from pipeline.views.connection import connect

    lake = connect(data, as_of=as_of, **options, thresholds=current_settings().thresholds)
    with contextlib.closing(lake):
        yield lake


def _print_provenance(lake: Any) -> None:
    from pipeline.reports.provenance import provenance_line

    sys.stdout.flush()  # first: of what could not be written, nothing is told
    click.echo(provenance_line(lake), err=True)


@command(
    examples=(
        'ens-images sql "from capacity_by_region"',
        'ens-images sql --format csv "select image_id, age_days from image_age where age_days > 365" > old.csv',
    )
)
@data_option
@format_option
@as_of_option
@option(
    "--memory-limit",
    type=MemorySize(),
    default="50%",
    show_default=True,
    metavar="SIZE",
    help="Memory that QUERY may use: a share of the machine's, or a size such as 4GB.",
)
@option("--allow-files", is_flag=True, help="Let QUERY read and write other files, and load extensions.")
@click.argument("query", required=False)
def sql(
    data: Path, output_format: Any, query: str | None, as_of: str | None, *, memory_limit: str, allow_files: bool
) -> None:
    """Run QUERY, or the SQL on standard input.

    Of several statements, it prints the result of the last. It can read the lake, and nothing else.
    """
    from pipeline.reports import query as queries
    from pipeline.reports.formats import write_rows

    if query is None and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    text = query if query is not None else sys.stdin.read()
    with _open_lake(data, as_of, only_lake=not allow_files, memory_limit=memory_limit) as lake:
        write_rows(queries.query(lake, text, only_reads=not allow_files), output_format, sys.stdout)
        _print_provenance(lake)


@command(examples=("ens-images questions", "ens-images questions 5 --format csv"))
@data_option
@format_option
@as_of_option
@click.argument("number", required=False, type=int)
def questions(data: Path, output_format: Any, number: int | None, as_of: str | None) -> None:
    """List common questions, each with its query.

    With a NUMBER, answer that question.
    """
    from pipeline.reports import query as queries
    from pipeline.reports import questions as catalog
    from pipeline.reports.formats import write_rows

    if number is None:
        if output_format == "markdown":
            click.echo(catalog.document(), nl=False)
        else:
            write_rows(catalog.list_questions(), output_format, sys.stdout)
        return
    question = catalog.question(number)
    with _open_lake(data, as_of) as lake:
        note = f" {question.note}" if question.note else ""
        click.echo(f"{question.number}. {question.text}{note}\n\n{question.sql}\n", err=True)
        write_rows(queries.query(lake, question.sql), output_format, sys.stdout)
        _print_provenance(lake)


@command(
    "report",
    examples=(
        "ens-images report",
        "ens-images report --format markdown age_bands accounts",
        "ens-images report --html report.html",
        "ens-images report --as-of 2026-10-01",
    ),
)
@data_option
@format_option
@as_of_option
@option(
    "--html",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    help="Write them as one HTML page with charts, to mail or print; - is standard output.",
)
@click.argument("views", nargs=-1, shell_complete=complete_view)
def report_command(data: Path, output_format: Any, html: Path | None, views: Sequence[str], as_of: str | None) -> None:
    """Print the standing reports, or only these VIEWS.

    They are capacity, ages, changes, failures and clean-up candidates.
    """
    from pipeline.reports.report import report

    if html is not None:
        source = click.get_current_context().get_parameter_source("output_format")
        if views or source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--html writes every standing report as a page: it takes no view and no --format")
        _write_page(data, html, as_of)
        return
    with _open_lake(data, as_of) as lake:
        report(lake, views, output_format=output_format, out=sys.stdout, err=sys.stderr)


def _write_page(data: Path, file: Path, as_of: str | None) -> None:
    from pipeline.reports.html import write_page

    with _open_lake(data, as_of, keeps_versions=True) as lake:
        write_page(lake, file)
        place = "on standard output" if str(file) == "-" else f"in {str(file)!r}: open it in any browser"
        click.echo(f"a page {place}", err=True)
        _print_provenance(lake)


@command(
    "diff",
    examples=(
        "ens-images diff 2026-10-01 latest",
        "ens-images diff 2026-10-01 2026-11-01 --format csv > october.csv",
        "ens-images diff 20261123T020000.000000Z latest --account prod --exit-code",
    ),
)
@data_option
@format_option
@option("--account", "accounts", scope="diff", multiple=True, metavar="NAME", help="Only this account; repeatable.")
@option("--exit-code", "sets_exit_code", scope="diff", is_flag=True, help="End with 7 if an image or instance differs.")
@click.argument("old", metavar="FROM")
@click.argument("new", metavar="[TO]", default="latest")
def diff_command(
    data: Path, output_format: Any, old: str, new: str, accounts: Sequence[str], *, sets_exit_code: bool
) -> None:
    """Compare the lake at two instants: FROM and TO.

    It lists the images that appeared, are gone or changed, the capacity by region, and so the instances. A format for
    one table, such as csv, holds the images.

    FROM and TO are each a UTC day (its end), an instant, the run_id of an observation, or `latest`, the default of TO.
    An image is "gone" or "appeared" only where that is proven; otherwise it is "unseen" or "seen".
    """
    from pipeline.reports.diff import diff, raise_if_different
    from pipeline.reports.diff.render import write_diff

    with diff(old, new, data, accounts=accounts) as differences:
        write_diff(differences, output_format, sys.stdout, sys.stderr)
        if sets_exit_code:
            raise_if_different(differences)


@command(
    examples=(
        "ens-images export capacity_by_day trend.xlsx",
        "ens-images export image_age - --format ndjson > ages.ndjson",
        "ens-images export --all out/reports --format csv",
        "ens-images export --all out/lake.duckdb",
    ),
)
@data_option
@as_of_option
@option(
    "--all",
    "target",
    scope="export",
    type=LocalPath(path_type=Path),
    metavar="DIR|FILE.duckdb",
    help="Write every standing report into DIR, with a manifest; or all tables and views as tables of one DuckDB file.",
)
@option(
    "--format",
    "formats",
    scope="export",
    multiple=True,
    type=click.Choice(export_formats()),
    default=("csv",),
    show_default=True,
    help="With --all DIR or with -: the format; with DIR repeatable.",
)
@click.argument("view", required=False, shell_complete=complete_view)
@click.argument("file", required=False, type=LocalPath(dir_okay=False, allow_dash=True, path_type=Path))
def export(
    data: Path, target: Path | None, formats: Sequence[str], view: str | None, file: Path | None, as_of: str | None
) -> None:
    """Write a table or VIEW to FILE, or all reports to a folder.

    The suffix of FILE gives the format: one of those of --format. - is standard output. --all takes a database too.
    """
    from pipeline.jobs import export as export_job

    options: Any = {"as_of": as_of, "thresholds": current_settings().thresholds}
    if str(target) == "-":
        raise click.UsageError("--all writes a folder or a database: standard output takes one VIEW, then -")
    if target is not None and view is None and target.suffix.lower() == ".duckdb":
        _refuse_other_formats(formats, "duckdb")
        tables, rows, provenance = export_job.export_database(target, data, **options)
        written = f"{pluralize(rows, 'row')} of {pluralize(tables, 'table')} in {str(target)!r}"
    elif target is not None and view is None:
        manifest, provenance = export_job.export_all(target, data, formats=formats, **options)
        written = f"{pluralize(len(manifest['files']), 'file')} and their manifest in {str(target)!r}"
    elif view is not None and file is not None and target is None and str(file) == "-":
        if len(set(formats)) > 1:
            raise click.UsageError("standard output takes one --format")
        prepare_data(formats[0], is_binary=is_binary(formats[0]))
        rows, provenance = export_job.export_to_stream(view, formats[0], sys.stdout, data, **options)
        written = f"{pluralize(rows, 'row')} of {view} on standard output"
    elif view is not None and file is not None and target is None:
        _refuse_other_formats(formats, file.suffix.lower().removeprefix("."))
        rows, provenance = export_job.export(view, file, data, **options)
        written = f"{pluralize(rows, 'row')} of {view} in {str(file)!r}"
    else:
        raise click.UsageError("give a VIEW and a FILE, or --all DIR, or --all FILE.duckdb")
    click.echo(f"{written}\n{provenance}", err=True)


def _refuse_other_formats(formats: Sequence[str], suffix: str) -> None:
    """Refuse a --format of the command line that the suffix of the file contradicts."""
    source = click.get_current_context().get_parameter_source("formats")
    if source is click.core.ParameterSource.COMMANDLINE and set(formats) != {suffix}:
        raise click.UsageError("the suffix of the file gives its format: --format is for a DIR and for -")


@command(examples=("ens-images describe images", "ens-images describe --format markdown"))
@format_option
@click.argument("name", required=False, metavar="[TABLE_OR_VIEW]", shell_complete=complete_view)
def describe(output_format: Any, name: str | None) -> None:
    """Describe rows and columns, with examples.

    Without a name, --format markdown writes the data dictionary.
    """
    from pipeline.reports.dictionary import write_description

    write_description(name, output_format, sys.stdout)


@command("views", examples=("ens-images views > views.sql",))
@data_option
@as_of_option
@option(
    "--engine",
    scope="views",
    type=click.Choice(["duckdb", "spark"]),
    default="duckdb",
    help="SQL dialect; that of Spark has no tables: `pipeline.spark.register` makes them.",
)
def views_command(data: Path, as_of: str | None, engine: str) -> None:
    """Print the SQL that creates the views elsewhere.

    It creates the tables and views in any DuckDB, or with --engine spark the views in a Spark session.
    """
    if engine == "spark":
        from pipeline.spark import views_spark_sql

        if as_of is not None:
            raise click.UsageError("--engine spark shows the lake as it is now: --as-of is for DuckDB")
        click.echo(views_spark_sql(), nl=False)
        return
    from pipeline.views.script import views_sql

    click.echo(views_sql(data, as_of=as_of, thresholds=current_settings().thresholds), nl=False)
