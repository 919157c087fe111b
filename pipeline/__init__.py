"""Every image, every day, in SQL.

    cli/               commands: options, exit codes, one call to a job each
    spark.py           the same tables and views on a Spark session; rebuild by many machines
    jobs/              what a command does, step by step: run, rebuild, compaction, retention, doctor, demo
    reports/           standing reports, diff, HTML page, terminal, formats, export, dictionary, questions
    views/             connect(): the lake as DuckDB views, every column described; sql/: one file a view
    lake/              layout, commit, orphans, tombstones, file set, scan, versions, compaction, check, publish
    transform/         raw pages → typed tables and rejects: pure functions
    extract/           client, rate limit, endpoint, response, completeness, listing, raw pages
    storage/           files in a local folder, objects in a bucket
    credentials.py     an account: a label, and credentials of the vendor's own providers
    credential_chain/  the vendor's providers in order, their files, their transport
    network.py         proxy and certificate authorities of the environment
    known_secrets.py   secrets of the environment and the profile files, so that they can be recognised
    settings.py        ens-images.toml: its keys, and their checks
    emulator/          a local ENS endpoint: signed, paged, throttled, and faulty on request
    resources/         what is collected: every table and column, declared once
    errors.py          everything raised, grouped by what the reader does next
    log.py             log messages, each with its run, account, page and call
    memory.py          too little memory: one error
    paths.py           paths as a user writes them
    text.py            values as text: for a terminal, JSON, SQL, a sentence
    runtime.py         process-wide settings of the interpreter, each with its measurement
    requirements.py    installed packages, and whether they are new enough
    redaction.py       remove secrets from what a library or a server said: pure, below everything

A package imports only from the lines below it (`make lint`: the contract in
pyproject.toml). A notebook needs no more than

    from pipeline import connect, diff, run, rebuild, export
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.jobs.export import export
    from pipeline.jobs.rebuild import rebuild
    from pipeline.jobs.run import run
    from pipeline.reports.diff import diff
    from pipeline.views.connection import connect

__all__ = ["connect", "diff", "export", "rebuild", "run"]

_HOMES = {
    "connect": "pipeline.views.connection",
    "diff": "pipeline.reports.diff",
    "export": "pipeline.jobs.export",
    "rebuild": "pipeline.jobs.rebuild",
    "run": "pipeline.jobs.run",
}


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
