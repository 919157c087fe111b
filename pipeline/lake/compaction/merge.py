"""Merge observations into versions: open versions + new observations → ended versions, and those still open.

    open versions (all, of rebuilt accounts) ──┐
                                               ├─→ merged: where each version begins and ends ─→ with its values
    fingerprints of the observations taken ────┘

The values of a version that goes on never leave Arrow.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, open_place
from pipeline.lake.compaction.plan import accounts_of
from pipeline.lake.item_rows import fingerprinted, fingerprints, observed_rows, version_rows
from pipeline.lake.scan import scan_files, tuples
from pipeline.lake.versions import number_observations, versions, with_values
from pipeline.resources.control import OBSERVATIONS
from pipeline.storage.store import store_of
from pipeline.text import escape_glob, sql_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb
    import pyarrow as pa

    from pipeline.lake.commit import CompactionCommit
    from pipeline.lake.compaction.plan import Plan
    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table

SLICE_ROWS: Final = 400_000
"""Observed rows that are merged at a time, to bound memory: the rows of one item are sorted together."""
BATCH_ROWS: Final = 16_384
"""Rows that are on their way from file to file at a time."""


def merge(
    con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan, commit: CompactionCommit
) -> tuple[int, tuple[str, ...]]:
    """Write the versions of a resource. Returns: how many are still open, and the accounts of those that ended.

    The table `observed` has the observations of the accounts that are merged, until the next resource.
    """
    _register_observations(con, resource, plan)
    _merge_bounds(con, resource, plan)
    return _write_versions(con, resource, plan, commit)


def _register_observations(con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan) -> None:
    import pyarrow as pa

    accounts = accounts_of(plan.rebuilt | plan.extended, resource)
    known = [
        row
        for row in plan.records
        if row.resource == resource.name and row.account in accounts and row.key in plan.compacted
    ]
    names = ("account", "observed_at_utc", "run_id")
    con.register("known", pa.table({name: [getattr(row, name) for row in known] for name in names}))
    con.execute(
        "create or replace table observed (account varchar, observed_at_utc timestamp, run_id varchar)"
    ).fetchall()
    con.execute("insert into observed from known").fetchall()
    con.unregister("known")


def _merge_bounds(con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan) -> None:
    """Make the table `living`: the versions of these accounts, still without their values."""
    observation = number_observations(f"""
        select
            observed.account,
            observed.observed_at_utc,
            coalesce(record.certificate = 'verified', false) as is_verified,
            (observed.run_id, observed.account) not in ({taken_pairs(resource, plan)}) as is_covered
        from observed
        inner join ({_certificates(plan)}) as record
            on observed.account = record.account and observed.run_id = record.run_id
            and record.resource = {sql_literal(resource.name)}""")  # noqa: S608
    extended, rebuilt = _versions_before(resource, plan)
    unknown = "null::timestamp as life_began_utc, null::timestamp as previous_seen_utc"
    con.execute(
        f"create table version as {fingerprinted(resource, extended)} "  # noqa: S608
        f"union all select * replace ({unknown}) from ({fingerprinted(resource, rebuilt)}) as version"
    ).fetchall()
    con.execute(f"create table fingerprint as {fingerprints(resource, plan.taken_files)}").fetchall()
    count = con.execute("select (select count(*) from version) + (select count(*) from fingerprint)").fetchall()[0][0]
    slices = count // SLICE_ROWS + 1
    for number in range(slices):
        in_slice = f"where hash(item_id) % {slices} = {number}"
        merged = versions(observation, f"select * from version {in_slice}", f"select * from fingerprint {in_slice}")  # noqa: S608
        con.execute(f"{'insert into living' if number else 'create or replace table living as'} {merged}").fetchall()
    con.execute("drop table version; drop table fingerprint").fetchall()


def taken_pairs(resource: Resource, plan: Plan) -> str:
    """Run and account of what is taken of a resource, as a list of SQL."""
    return tuples(((record.run_id, record.account) for record in plan.taken_of(resource)), 2)


def _versions_before(resource: Resource, plan: Plan) -> tuple[str, str]:
    """Queries for the versions before: those still open of extended accounts, and all of rebuilt ones."""
    return (
        version_rows(resource, plan.files, ended=False, accounts=_among(accounts_of(plan.extended, resource))),
        version_rows(resource, plan.files, ended=True, accounts=_among(accounts_of(plan.rebuilt, resource))),
    )


def _certificates(plan: Plan) -> str:
    names = ("account", "resource", "run_id", "certificate")
    parts = [scan_files(OBSERVATIONS, plan.files.daily[OBSERVATIONS.name], names=names)]
    if plan.before is not None:
        parts.append(scan_files(COMPACTED[RECORDS], plan.files.compacted[RECORDS], names=names))
    return " union all by name ".join(parts)


def _write_versions(
    con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan, commit: CompactionCommit
) -> tuple[int, tuple[str, ...]]:
    import pyarrow.compute as pc

    begun = (
        f"select account, first_seen_utc as observed_at_utc, item_id as {resource.key.name} "  # noqa: S608
        "from living where valued_utc is null"
    )
    rebuilt = _versions_before(resource, plan)[1]
    new = with_values(resource, "living", rebuilt, observed_rows(resource, plan.taken_files, begun))
    open_count, accounts = 0, set[str]()
    commit.add(open_place(resource), resource.versions.arrow().empty_table())
    for rows in itertools.chain(_still_open(con, resource, plan), stream(con, resource.versions, new)):
        has_ended = pc.or_(pc.is_valid(rows["next_seen_utc"]), pc.is_valid(rows["gone_at_utc"]))
        still_open, ended = rows.filter(pc.invert(has_ended)), rows.filter(has_ended)
        commit.add(open_place(resource), still_open)
        open_count += len(still_open)
        if len(ended):
            commit.add(resource.versions_name, ended)
            accounts |= set(pc.unique(ended["account"]).to_pylist())
    return open_count, tuple(sorted(accounts))


def _still_open(con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan) -> Iterator[pa.Table]:
    """The versions that were open before, with their new bounds; those of rebuilt accounts are left out.

    Those of accounts without new observations stay as they were.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    paths = plan.files.compacted.get(open_place(resource), ())
    if not paths:
        return
    (path,) = paths
    rebuilt = accounts_of(plan.rebuilt, resource)
    extended = _among(accounts_of(plan.extended, resource))
    bounds = con.sql(f"""
        select
            {_among(rebuilt, "old.account")} as is_rebuilt,
            coalesce(living.last_seen_utc, old.last_seen_utc) as last_seen_utc,
            living.gone_at_utc,
            living.next_seen_utc
        from read_parquet({sql_literal(escape_glob(path))}, file_row_number = true) as old
        left join (select * from living where valued_utc is not null and {extended}) as living
            on old.account = living.account and old.{resource.key.name} = living.item_id
        order by old.file_row_number""").to_arrow_table()  # noqa: S608
    schema = resource.versions.arrow()
    start = 0
    with pq.ParquetFile(store_of(path).open(path)) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            changed = bounds.slice(start, len(batch)).combine_chunks()
            start += len(batch)
            columns = {name: batch.column(name) for name in batch.schema.names}
            columns |= {name: changed[name] for name in changed.column_names[1:]}
            # A column that the file lacks is read from `extra` wherever it is read.
            typed = [columns.get(field.name, pa.nulls(len(batch), field.type)).cast(field.type) for field in schema]
            rows = pa.Table.from_arrays(typed, schema=schema)
            yield rows.filter(pc.invert(changed["is_rebuilt"])) if rebuilt else rows


def stream(con: duckdb.DuckDBPyConnection, table: Table, query: str) -> Iterator[pa.Table]:
    """Yield the rows of a query, typed as `table` declares, `BATCH_ROWS` at a time."""
    import pyarrow as pa

    schema = table.arrow()
    reader = con.sql(f"select {', '.join(schema.names)} from ({query}) as row").to_arrow_reader(BATCH_ROWS)  # noqa: S608
    for batch in reader:
        yield pa.Table.from_batches([batch]).cast(schema)


def _among(accounts: Iterable[str], column: str = "account") -> str:
    listed = ", ".join(map(sql_literal, sorted(accounts)))
    return f"{column} in ({listed})" if listed else "false"
