"""Every image, every day, in SQL.

    errors.py             everything raised, sorted by what to do next; what a service's code asks for
    settings.py           ens-images.toml: what may stand there, and what does
    logs.py               what happens, while it happens: the run, account, page and call before every message
    versions.py           what is installed, and whether it is new enough
    schema.py             how a table is declared, and what follows from it
    tables.py             every column: API field, type, unit, meaning: the only place
    spelling.py           a value as text: in a terminal, in JSON, in SQL, in a sentence
    mending.py            JSON that is not quite readable, mended: only what cannot be read is set aside
    certificate.py        what answers say, and how far they prove that nothing is missing (pure)
    accounts.py           whose images: a label, and credentials from the vendor's own providers
    ens_api.py            one signed call: bytes out; errors classified; retried when that can help
    extract.py            a whole account, page by page, until its listing proves what was asked
    bucket.py             a bucket in the place of a folder: objects that are put once, and only if absent
    files.py              a file is whole or not there, under a name that survives a power cut
    landing.py            those pages on disk, as they came: a table of bytes
    flatten.py            pages → typed tables, and rejects with a reason (pure: no files, no network)
    taken_out.py          what was taken out of the lake, and until when it can come back
    folded.py             what is folded: one record, which names every file that stands for it
    lake.py               immutable Parquet files, published together; reading, keeping, clearing away
    ahead.py              pages flattened and written side by side, and while the next ones still come
    publish.py            from a landed run to the lake: the same for a run and for a rebuild
    views/                connect(): the lake as a DuckDB database, every table, view and column described
    fold.py               folding: days of copies become stretches, so that a lake grows with change
    check.py              whether the lake is whole: every file, key, count and certificate
    prune.py              taking out: raw pages by age, an observation known to be wrong, leftovers of crashes
    rows.py               what the lake answers to SQL, or to the name of a table or view
    terminal.py           what a terminal shows: tables, bars, sparklines, how a run gets on
    formats.py            any result as a table, CSV, JSON or Markdown
    trust.py              how far it can all be trusted, in one line
    dictionary.py         every table, view and column: type, unit, meaning
    questions.py          what an owner of images asks, and the SQL that answers it
    excel.py              a result as an Excel workbook
    story/                the standing reports: what each asks of the lake, and what it finds
    report.py             the story in a terminal, or its rows for a machine
    differences/          what differs between two moments: images, fields, capacity by region
    page/                 the story as one HTML file with charts, and the SQL that made them
    exports.py            a table or view in a file, or every standing report in a folder
    judge.py              whether an account may be published that is much smaller than it was
    emulator/             a local ENS endpoint: signed, paged, throttled, and faulty on request
    flow.py               run, rebuild, list, export, demo: the steps in order
    spark.py              the same tables and views in Spark, and a rebuild by many machines
    nightly.py            a run and what follows it: a line and a code a step, a summary for a machine
    status.py             how fresh each account is: the one thing that looks at the clock
    doctor.py             what must be right before a run can be, checked in order
    shell.py              what every command has: variables, the settings file, --verbose, completion
    cli.py                the same steps from a shell: one call a command, and no logic

A module imports only from the lines above it; a test holds the code to this
drawing. A notebook needs no more than

    from pipeline import connect, diff, run, rebuild, export
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.differences import diff
    from pipeline.flow import export, rebuild, run
    from pipeline.views import connect

__all__ = ["connect", "diff", "export", "rebuild", "run"]

_HOMES = {
    "connect": "pipeline.views",
    "diff": "pipeline.differences",
    "export": "pipeline.flow",
    "rebuild": "pipeline.flow",
    "run": "pipeline.flow",
}


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
