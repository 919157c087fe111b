"""Rules that the rows of each run, and the versions, must satisfy, as SQL: a row in the answer is a violation.

A rule is one query over a batch of runs: a query for each run would cost more than its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import RESOURCES

if TYPE_CHECKING:
    from pipeline.resources.resource import Child, Resource
    from pipeline.resources.schema import Table


class Rule(NamedTuple):
    """A rule for one table of a run, over the views `<table>_of_runs`, in which `run` numbers the runs."""

    table: Table
    problem: str
    """Message, formatted with the columns of a row of the answer but for the first."""
    query: str
    """Its first column is the number of the run."""


def _unique_key(table: Table) -> Rule:
    names = ", ".join(table.key)
    query = f"""
        select run, sum(n)
        from (select run, count(*) as n from {table.name}_of_runs group by run, {names} having n > 1) as shared
        group by run"""  # noqa: S608  (declared names, as everywhere here)
    return Rule(table, f"{{0:,}} rows share their key ({names}) with another", query)


def _complete_key(table: Table) -> Rule:
    missing = " or ".join(f"{name} is null" for name in table.key)
    query = f"select run, count(*) from {table.name}_of_runs where {missing} group by run"  # noqa: S608
    return Rule(table, "{0:,} rows lack a part of their key", query)


def _row_count(table: Table, count: str, key: str, rows: str, is_counted: str) -> Rule:
    """The number of `rows` by `key`, which begins with the run and the account, is `count` of the observation."""
    query = f"""
        select run, account, coalesce(n, 0), expected
        from (select {key}, {count} as expected from observations_of_runs where {is_counted}) as record
        left join (select {key}, count(*) as n from ({rows}) as each_row group by {key}) as counted using ({key})
        where coalesce(n, 0) is distinct from expected"""  # noqa: S608
    return Rule(table, f"account {{0!r}}: {{1:,}} rows, and {count} is {{2}}", query)


def _published_observation(table: Table, key: str, is_counted: str) -> Rule:
    query = f"""
        select run, count(*) from {table.name}_of_runs
        anti join (select {key} from observations_of_runs where {is_counted}) as record using ({key})
        group by run"""  # noqa: S608
    return Rule(table, "{0:,} rows are of no published observation of the run", query)


def _item_of_each(resource: Resource, child: Child) -> Rule:
    query = f"""
        select run, count(*)
        from {child.name}_of_runs
        anti join {resource.name}_of_runs using ({_OBSERVATION}, {resource.key.name})
        group by run"""  # noqa: S608
    return Rule(child.table, f"{{0:,}} {child.noun}s belong to no {resource.noun}", query)


def _right_rollups(resource: Resource, child: Child) -> Rule:
    """The roll-ups of an item are those of its child items, where a version that knew them wrote the file."""
    key = f"{_OBSERVATION}, {resource.key.name}"
    sums, differences = [], []
    for rollup in child.rollups:
        name = rollup.column.name
        sums.append(f"{_SUMS[rollup.how].format(rollup.of)} as {name}")
        expected = f"child.{name}" if rollup.how == "sum" else f"coalesce(child.{name}, 0)"
        differences.append(f"item.{name} is distinct from {expected}")
    never_null = [rollup.column.name for rollup in child.rollups if rollup.how != "sum"]
    is_written = f"item.{never_null[-1]} is not null" if never_null else "true"
    query = f"""
        select run, count(*)
        from {resource.name}_of_runs as item
        left join (select {key}, {", ".join(sums)} from {child.name}_of_runs group by {key}) as child using ({key})
        where {is_written} and ({" or ".join(differences)})
        group by run"""  # noqa: S608
    problem = f"{{0:,}} {resource.noun}s have other {child.noun} counts or sizes than their rows in {child.name}"
    return Rule(resource.table, problem, query)


_OBSERVATION: Final = "run, account, observed_at_utc"
_SUMS: Final = {"count": "count(*)", "count_null": "count(*) - count({0})", "sum": "sum({0})"}
"""How child items are summed up → the same in SQL."""


def _rules_of(resource: Resource) -> tuple[Rule, ...]:
    """The rules for the items and child items of a resource."""
    is_counted = f"is_published and resource = '{resource.name}'"
    children = [child.table for child in resource.children]
    child_rows = " union all ".join(f"select {_OBSERVATION} from {table.name}_of_runs" for table in children)  # noqa: S608
    rules = [
        _complete_key(resource.table),
        _unique_key(resource.table),
        _published_observation(resource.table, _OBSERVATION, is_counted),
        _row_count(resource.table, "item_count", _OBSERVATION, f"from {resource.name}_of_runs", is_counted),
    ]
    for child in resource.children:
        rules += [_complete_key(child.table), _unique_key(child.table), _item_of_each(resource, child)]
    if children:
        rules.append(_row_count(children[-1], "child_item_count", _OBSERVATION, child_rows, is_counted))
    rules += [_right_rollups(resource, child) for child in resource.children if child.rollups]
    return tuple(rules)


_REJECTED: Final = "run, account, resource, observed_at_utc"

RUN_RULES: Final = (
    *(rule for resource in RESOURCES for rule in _rules_of(resource)),
    _published_observation(REJECTS, _REJECTED, "is_published"),
    _row_count(REJECTS, "reject_count", _REJECTED, f"from {REJECTS.name}_of_runs", "is_published"),
)
"""Rules for the tables of a run."""

RULE_COLUMNS: Final = {
    **{
        resource.name: (*resource.table.key, *(column.name for column in resource.rollups)) for resource in RESOURCES
    },
    **{
        child.name: tuple(dict.fromkeys((*child.table.key, *(rollup.of for rollup in child.rollups if rollup.of))))
        for resource in RESOURCES
        for child in resource.children
    },
    REJECTS.name: ("account", "resource", "observed_at_utc"),
    OBSERVATIONS.name: (
        "account", "resource", "observed_at_utc", "is_published", "item_count", "child_item_count", "reject_count",
    ),
}  # fmt: skip
"""The columns that the rules read, by table."""


def version_rules(resource: Resource) -> tuple[tuple[str, str], ...]:
    """Problem and query of each rule for the versions of a resource, over the view `version`."""
    key = resource.key.name
    return (
        (
            f"{{0:,}} versions overlap another of their {resource.noun}",
            f"""
            select count(*) from (
                select
                    first_seen_utc,
                    lag(last_seen_utc) over (partition by account, {key} order by first_seen_utc) as previous
                from version
            ) as pair where first_seen_utc <= previous having count(*) > 0""",  # noqa: S608
        ),
        (
            "{0:,} versions end before they begin, or lack a part of their key",
            f"""
            select count(*) from version
            where coalesce(last_seen_utc < first_seen_utc or account is null or {key} is null, true)
            having count(*) > 0""",  # noqa: S608
        ),
    )
