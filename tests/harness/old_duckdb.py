"""Other versions of DuckDB read lakes of this one: the catalog, and the printed views, row for row.

python tests/harness/old_duckdb.py /path/to/a/python/with/another/duckdb …
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lake_builder import strange

from pipeline import connect
from pipeline.jobs.compaction import compact
from pipeline.jobs.demo import demo
from pipeline.jobs.withdrawal import withdraw
from pipeline.views.catalog import relations
from pipeline.views.database import write_catalog
from pipeline.views.script import views_sql

READ = """
import sys, duckdb
catalog, script, answer, *names = sys.argv[1:]
def rows(con):
    return [repr(sorted(map(repr, con.execute(f"from {name}").fetchall()))) for name in names]
with duckdb.connect(catalog, read_only=True) as con:
    first = rows(con)
    assert con.execute("select catalog_is_current()").fetchall() == [(True,)]
    con.execute("from stale_images(older_than_days := 90)").fetchall()
with duckdb.connect() as con:
    con.execute(open(script, encoding="utf-8").read())
    assert rows(con) == first, "the catalog and the printed views differ"
open(answer, "w", encoding="utf-8").write("\\n".join([duckdb.__version__, *first]))
"""


def lakes(folder: Path) -> dict[str, Path]:
    """Write a lake that is plain, one with gaps and nulls, and that one compacted, with an observation withdrawn."""
    found = {kind: folder / kind for kind in ("plain", "strange", "compacted")}
    demo(found["plain"], days=5, print_line=lambda _: None)
    for kind in ("strange", "compacted"):
        strange(found[kind])
    compact(found["compacted"])
    withdraw(found["compacted"], "20261002T020000Z/prod")
    for data in found.values():
        write_catalog(data)
        data.with_suffix(".sql").write_text(views_sql(data), "utf-8")
    return found


def unlike(python: str, data: Path) -> tuple[str, list[str]]:
    """Returns: the version of that DuckDB, and the tables and views that it reads otherwise."""
    names = list(relations())
    answer = data.with_suffix(".txt")  # DuckDB prints a progress bar to stdout
    command = [python, "-c", READ, str(data / "lake.duckdb"), str(data.with_suffix(".sql")), str(answer), *names]
    subprocess.run(command, check=True)
    version, *theirs = answer.read_text("utf-8").split("\n")
    with connect(data) as lake:
        ours = [repr(sorted(map(repr, lake.execute(f"from {name}").fetchall()))) for name in names]
    return version, [name for name, our, their in zip(names, ours, theirs, strict=True) if our != their]


def main(pythons: list[str]) -> None:
    """Compare, and print what was compared."""
    is_different = False
    with tempfile.TemporaryDirectory() as folder:
        for kind, data in lakes(Path(folder)).items():
            for python in pythons:
                version, different = unlike(python, data)
                count = len(relations())
                sys.stdout.write(f"DuckDB {version}, {kind}: {count} tables and views, {len(different)} unlike ours\n")
                sys.stdout.write("".join(f"    {name}\n" for name in different))
                is_different |= bool(different)
    sys.exit(is_different)


if __name__ == "__main__":
    main(sys.argv[1:])
