"""Secrets in a lake, where older versions stored them: body and error of a refused try, and what repeats it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from lake_builder import commit_again

from pipeline.lake.commit import write_record
from pipeline.resources.control import OBSERVATIONS

if TYPE_CHECKING:
    from pathlib import Path

SECRET: Final = "s3cretS3CRETs3cretS3CRETs3cret"
ERROR: Final = f"Max retries exceeded with url: /?AccessKeyId=id&SecurityToken={SECRET}&Signature={SECRET}"
BODY: Final = json.dumps({"Code": "SignatureDoesNotMatch", "Message": f"x-acs-security-token:{SECRET}"}).encode()


def plant(data: Path) -> None:
    """Write every refused try, and every error that a run stored, as a version without redaction did."""
    for path in sorted((data / "raw").rglob("observed_on=*/*.parquet")):
        _plant_in_pages(path)
    for path in sorted((data / "lake" / OBSERVATIONS.name).rglob("*.parquet")):
        rows = [{**row, "error": ERROR if row["error"] else None} for row in pq.ParquetFile(path).read().to_pylist()]
        write_record(path, OBSERVATIONS.to_arrow(rows), path.name)
        commit_again(path)


def _plant_in_pages(path: Path) -> None:
    file = pq.ParquetFile(path)
    metadata = file.metadata.metadata
    header = json.loads(metadata[b"ens_images_run"])
    for account in header["accounts"]:
        account["error"] = account["error"] and ERROR
    text = json.dumps(header, ensure_ascii=False).encode()
    about = {**metadata, b"ens_images_run": text, b"ens_images_run_sha256": hashlib.sha256(text).hexdigest().encode()}
    about.pop(b"ARROW:schema", None)
    rows = [_planted(row) for row in file.read().to_pylist()]
    schema = file.schema_arrow.with_metadata(about)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, write_page_checksum=True)


def _planted(row: dict[str, Any]) -> dict[str, Any]:
    return row if row["status"] == 200 else {**row, "body": BODY, "error": ERROR}


def files_with(folder: Path, secret: str = SECRET) -> list[str]:
    """The files below a folder that hold a secret, in their bytes or in a cell."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and secret in _content(path)
    )


def _content(path: Path) -> str:
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            text += f"{file.metadata.metadata}{file.read().to_pylist()}"
    return text
