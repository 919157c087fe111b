"""The lake as a DuckDB database: every table, view and column described.

    tables.py ──► images, image_disks, rejects, observations, pages     over the exact committed files
                  images_latest, image_disks_latest                     over the latest files alone
    *.sql ──────► capacity_by_region, image_age, image_changes, …       one file a view

`connect` runs the script that `views_sql` prints: there is one source. Where
`lake.duckdb` was made by that script from the same files, it copies the views
from there, which is the same and takes a tenth of the time. A view's file says
what one row is, what it reads (`-- Reads: …`), and after each column what it
means; a column that says nothing means what it means where it was read. It may
show a query (`-- Example: …`). Where
a view begins with `settings`, it is a table macro as well, which takes them:

    from stale_images                                 with the settings of its file
    from stale_images(older_than_days := 90)          with one's own
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.lake.file_set import FileSet
from pipeline.lake.latest import latest_rows
from pipeline.lake.scan import (
    compacted,
    empty,
    fingerprinted,
    fingerprints,
    instant,
    observations,
    observed_rows,
    pages,
    rejects,
    rows,
    version_rows,
)
from pipeline.lake.versions import as_of_cut, number_observations, versions, with_values
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGE_VERSIONS, IMAGES
from pipeline.resources.tables import TABLES
from pipeline.storage.store import open_location, store_of
from pipeline.text import sql_literal
from pipeline.views.as_of import parse_as_of
from pipeline.views.catalog import AS_OF, IS_CURRENT, LATEST, THRESHOLDS, relations
from pipeline.views.parameters import Thresholds, with_parameters, with_thresholds
from pipeline.views.state import LakeState, published_observations

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection
    from pathlib import Path

    from pipeline.resources.schema import Table
    from pipeline.views.model import Relation


def views_sql(
    data: str | Path = "data", *, as_of: str | dt.date | None = None, thresholds: Thresholds | None = None
) -> str:
    """Write the script that gives any DuckDB the tables and views of this lake, described: paths are absolute.

    With `as_of`, the lake as it was then, with `thresholds` the views by those: see `connect`.

    Raises:
        BadSetting: `as_of` or `thresholds` mean nothing, or there was no observation by then.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    files = FileSet.under(data)
    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        cut = None if as_of is None else parse_as_of(as_of, published_observations(con, files))
        return script_over(files, LakeState.of(con, files, cut), cut) + thresholds_script(thresholds)


def script_over(files: FileSet, known: LakeState, as_of: dt.datetime | None = None) -> str:
    """Write the whole script, over files and what is known of them.

    A view is bound when it is made, and binding looks at every file that it reads. So the tables come first as empty
    ones, the views over them, and then the tables in their place: a thousand files are looked at once, not once a view.
    """
    return static_script() + data_script(files, known, as_of)


def static_script() -> str:
    """Write what is the same for every lake."""
    every = relations()
    parts = ["-- The tables, typed and still empty, and the views over them.\n"]
    parts += [_view(name, empty(table)) for name, table in _tables().items()]
    parts.append(_view(IMAGE_VERSIONS.name, _with_current(empty(IMAGE_VERSIONS))))
    parts += [_view(name, relation.query) for name, relation in every.items() if relation.query]
    parts += [_macro(relation) for relation in every.values() if relation.settings]
    parts.append(f"create or replace macro {THRESHOLDS}() as '{{}}';\n\n")
    parts += [_comments(relation) for relation in every.values() if relation.query]
    return "".join(parts)


def thresholds_script(thresholds: Thresholds | None) -> str:
    """Write the views that these thresholds change, and what they are."""
    if not thresholds:
        return ""
    changed = with_thresholds(relations(), thresholds).values()
    parts = [_view(one.name, one.query or "") + _macro(one) + _comments(one) for one in changed]
    return f"{''.join(parts)}create or replace macro {THRESHOLDS}() as {sql_literal(json.dumps(thresholds))};\n"


def data_script(files: FileSet, known: LakeState, as_of: dt.datetime | None = None) -> str:
    """Write what follows from the files of one lake, and as of when it is shown."""
    parts = ["-- The tables, over the files of committed runs.\n"]
    if any(files.of.values()) or files.fold:
        parts += [
            _view(IMAGES.name, rows(IMAGES, files, as_of)),
            _view(IMAGE_DISKS.name, rows(IMAGE_DISKS, files, as_of)),
            _view(REJECTS.name, rejects(files, as_of)),
            _view(OBSERVATIONS.name, observations(files, as_of)),
            _view(RAW_PAGES.name, pages(files, as_of)),
            _view(IMAGE_VERSIONS.name, _with_current(_versions(files, known, as_of), known)),
        ]
    parts += [_view(name, latest_rows(table, files, known.latest)) for name, table in LATEST.items() if known.latest]
    parts += [_comments(relation) for relation in relations().values() if not relation.query]
    said = "null" if as_of is None else instant(as_of)
    parts.append(f"create or replace macro {AS_OF}() as cast({said} as timestamp);\n")
    return "".join(parts)


def _comments(relation: Relation) -> str:
    """Say what a table or view means, and each of its columns."""
    said = [(f"view {relation.name}", relation.grain)]
    said += [(f"column {relation.name}.{column.name}", column.comment) for column in relation.columns]
    return "".join(f"comment on {what} is {sql_literal(meaning)};\n" for what, meaning in said)


def _versions(files: FileSet, known: LakeState, as_of: dt.datetime | None) -> str:
    """Write `image_versions`: the fold's stretches as they are; of what is not folded, or not so any more, anew."""
    parts = []
    anew = known.new | known.disordered
    if files.fold is not None:
        kept = [version_rows(files, ended=True, still_open=False, accounts=_but(known.disordered))]
        kept.append(version_rows(files, ended=False, accounts=_but(anew)))
        parts.append("\nunion all\n".join(kept))
        if as_of is not None:
            cuts = " union all ".join(
                f"select {sql_literal(one.account)} as account, {instant(one.observed_at_utc)} as cut_utc"
                for one in known.latest
            )
            parts = [as_of_cut(parts[0], cuts or "select null as account, null::timestamp as cut_utc where false")]
    if anew:
        parts.append(f"select * from (\n{_made_anew(files, known, as_of)}\n) as anew")  # noqa: S608
    return "\nunion all\n".join(parts) or empty(IMAGE_VERSIONS)


def _with_current(query: str, known: LakeState | None = None) -> str:
    """Add `is_current` to versions: whether the account's last published observation has the row."""
    latest = ", ".join(
        f"({sql_literal(one.account)}, {instant(one.observed_at_utc)})" for one in (known.latest if known else ())
    )
    is_current = f"(account, last_seen_utc) in ({latest})" if latest else "false"
    return f"select *, {is_current} as {IS_CURRENT.name} from (\n{query}\n) as version"  # noqa: S608  (of our own making)


def _made_anew(files: FileSet, known: LakeState, as_of: dt.datetime | None) -> str:
    """Make the stretches of accounts that are not folded to the end, or not in order."""
    names = ("account", "observed_at_utc", "run_id", "is_published", "certificate")
    anew, new, disordered = (_listed(one) for one in (known.new | known.disordered, known.new, known.disordered))
    observation = number_observations(f"""
        select
            told.account,
            told.observed_at_utc,
            coalesce(told.certificate = 'verified', false) as is_verified,
            folded.account is not null as is_covered
        from ({observations(files, as_of, names)}) as told
        left join ({compacted(files, as_of)}) as folded using (account, observed_at_utc)
        where told.is_published and told.account in ({anew})""")  # noqa: S608
    stretch = version_rows(files, ended=False, accounts=f"account in ({new})")
    known_lives = fingerprinted(stretch)
    if known.disordered:
        every = version_rows(files, ended=True, accounts=f"account in ({disordered})")
        forgotten = "null::timestamp as life_began_utc, null::timestamp as previous_seen_utc"
        known_lives += f"\nunion all\nselect * replace ({forgotten}) from ({fingerprinted(every)}) as one"
        stretch += f"\nunion all\n{every}"
    begun = "select account, first_seen_utc as observed_at_utc, image_id from living where valued_utc is null"
    return (
        f"with living as materialized (\n{versions(observation, known_lives, fingerprints(files))}\n)\n"
        f"{with_values('living', stretch, observed_rows(files, begun))}"
    )


def _but(accounts: Collection[str]) -> str:
    """The condition that leaves accounts out; where there are none, no condition, which would be asked of every row."""
    return f"account not in ({_listed(accounts)})" if accounts else ""


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(sql_literal, sorted(names))) or "''"


def _tables() -> dict[str, Table]:
    return {**{table.name: table for table in TABLES}, **LATEST}


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as\n{query.rstrip()};\n\n"


def _macro(relation: Relation) -> str:
    """Make a view's query a table macro, its settings the parameters."""
    query = with_parameters(relations()[relation.name].query or "")  # as its file has it: a value may hold anything
    parameters = ", ".join(f"{one.name} := {one.default}" for one in relation.settings)
    said = " ".join(
        (relation.grain, "Settings:", *(f"{one.name} := {one.default}: {one.doc}" for one in relation.settings))
    )
    return (
        f"create or replace macro {relation.name}({parameters}) as table\n{query.rstrip()};\n\n"
        f"comment on macro table {relation.name} is {sql_literal(said)};\n\n"
    )
