"""Another DuckDB reads a lake of this one: its catalog, and the printed views, row for row.

python tests/harness/old_duckdb.py /path/to/a/python/with/another/duckdb
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline import connect
from pipeline.jobs.demo import demo
from pipeline.views.catalog import relations
from pipeline.views.script import views_sql

READ = """
import sys, duckdb
catalog, script, *names = sys.argv[1:]
def rows(con):
    return [repr(sorted(map(repr, con.execute(f"from {name}").fetchall()))) for name in names]
with duckdb.connect(catalog, read_only=True) as con:
    first = rows(con)
with duckdb.connect() as con:
    con.execute(open(script, encoding="utf-8").read())
    assert rows(con) == first, "the catalog and the printed views differ"
sys.stdout.write("\\n".join([duckdb.__version__, *first]))
"""


def main(python: str) -> None:
    """Compare, and say what was compared."""
    names = list(relations())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "lake"
        demo(data, days=5, print_line=lambda _: None)
        script = Path(folder) / "views.sql"
        script.write_text(views_sql(data), "utf-8")
        command = [python, "-c", READ, str(data / "lake.duckdb"), str(script), *names]
        version, *theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        with connect(data) as lake:
            ours = [repr(sorted(map(repr, lake.execute(f"from {name}").fetchall()))) for name in names]
    different = [name for name, our, their in zip(names, ours, theirs, strict=True) if our != their]
    sys.stdout.write(f"DuckDB {version}: {len(names)} tables and views, {len(different)} unlike ours {different}\n")
    sys.exit(bool(different))


if __name__ == "__main__":
    main(sys.argv[1])
