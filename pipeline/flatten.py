"""Pages → typed tables, and rejects with a reason. Pure: no files, no network.

    bodies ─→ the list of images in each, byte for byte
                 ├─ pyarrow's JSON reader over whole pages: every field as text         fast, the usual way
                 └─ where that fails, page by page: field by field, each value's raw JSON at hand
              ─→ text → declared type, a column at a time; what does not fit: null, and a row in `rejects`

Both ways end in the same columns of text, so a value is typed in one place
only. Fields that are not declared go to `extra`; one bad value never costs its
neighbours; only an image without an id is left out whole.
"""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.certificate import image_list, scalar_text
from pipeline.tables import IMAGE_DISKS, IMAGES, REJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.schema import Column, Table

_DISKS: Final = "DiskDeviceMappings"
_DISK: Final = "DiskDeviceMapping"
_NO_ID: Final = "no id: the image is left out"


def _fields(table: Table, *, without: str | None = None) -> dict[str, Column]:
    """The API's fields of a table, in declared order: API name → column."""
    return {column.api: column for column in table.columns if column.api and column.name != without}


_IMAGE_FIELDS: Final = _fields(IMAGES)
_DISK_FIELDS: Final = _fields(IMAGE_DISKS, without="image_id")


def _strings(names: Iterable[str]) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in names]


_DISK_STRUCT: Final = pa.struct([pa.field(_DISK, pa.list_(pa.struct(_strings(_DISK_FIELDS))))])
_PAGE_SCHEMA: Final = pa.schema(
    [pa.field("Image", pa.list_(pa.struct([*_strings(_IMAGE_FIELDS), pa.field(_DISKS, _DISK_STRUCT)])))]
)


@dataclass(frozen=True, slots=True)
class Flat:
    """Some pages of one observation as tables, and the names of the fields that were not known."""

    images: pa.Table
    image_disks: pa.Table
    rejects: pa.Table
    unknown_fields: frozenset[str]


def flatten(
    bodies: Sequence[bytes], account: str, observed_at_utc: dt.datetime, *, seen: set[str] | None = None
) -> Flat:
    """Flatten the bodies of some pages of one observation, rows in the order listed.

    `seen` holds the ids of the pages before and takes up those of these: an image whose id is in
    it is left out, so that the first of two stays. None: the ids are known to be distinct.
    """
    texts = _texts([image_list(body) for body in bodies])
    rejects = _Rejects()
    rejects.lines.extend(texts.rejects)
    images = _typed(texts.images, _IMAGE_FIELDS, texts.raw, rejects, disks=None)
    disks = _typed(texts.disks, _DISK_FIELDS, texts.raw_disk, rejects, disks=texts)
    keep = _kept(texts.images.column("ImageId").to_pylist(), seen)
    return Flat(
        images=_image_table(images, texts, keep, account, observed_at_utc),
        image_disks=_disk_table(disks, texts, keep, account, observed_at_utc),
        rejects=_reject_table(rejects, texts, keep, account, observed_at_utc),
        unknown_fields=frozenset(texts.unknown_fields),
    )


# ── pages → columns of text ──────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, order=True)
class _Line:
    """One reject: where it stands (image row, disk number or 0, place of the field), and what it says."""

    image_row: int
    disk_number: int
    place: int
    field: str
    reason: str
    raw: str


@dataclass(slots=True)
class _Rejects:
    lines: list[_Line] = field(default_factory=list)


@dataclass(slots=True)
class _Texts:
    """Images and disks as columns of text, and what the way there has found."""

    images: pa.Table
    disks: pa.Table
    disk_image_row: list[int] | pa.Array
    disk_number: list[int] | pa.Array
    image_extra: list[str | None] | None = None
    disk_extra: list[str | None] | None = None
    raw: dict[tuple[int, str], str] = field(default_factory=dict)
    """Raw JSON of values that were no JSON strings: (row, field) → text."""
    raw_disk: dict[tuple[int, str], str] = field(default_factory=dict)
    rejects: list[_Line] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


def _texts(pages: list[bytes]) -> _Texts:
    quick = _read_quickly(pages)
    if quick is not None:
        return quick
    return _joined([_read_quickly([page]) or _read_carefully(page) for page in pages])


def _read_quickly(pages: list[bytes]) -> _Texts | None:
    """Let pyarrow read whole pages as published; None where anything in them is not as published."""
    if not pages:
        return _read_carefully(b"[]")
    # a line a page: a raw line break can only stand between JSON's tokens
    lines = b"".join(b'{"Image":' + page.replace(b"\n", b" ").replace(b"\r", b" ") + b"}\n" for page in pages)
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines),
            read_options=pyarrow.json.ReadOptions(block_size=max(len(lines) + 1, 1 << 16)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_PAGE_SCHEMA, newlines_in_values=False, unexpected_field_behavior="error"
            ),
        )
    except pa.ArrowInvalid:
        return None
    images = pc.list_flatten(table.column("Image").combine_chunks())
    ids = pc.struct_field(images, "ImageId")
    if images.null_count or ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        return None
    lists = pc.struct_field(images, [_DISKS, _DISK])
    disks = pc.list_flatten(lists)
    if disks.null_count:
        return None
    rows = pc.list_parent_indices(lists)
    counts = pc.fill_null(pc.list_value_length(lists), 0)
    starts = pc.subtract(pc.cumulative_sum(counts), counts)
    places = pa.array(range(1, len(disks) + 1), pa.int64())
    return _Texts(
        images=pa.table({name: pc.struct_field(images, name) for name in _IMAGE_FIELDS}),
        disks=pa.table({name: pc.struct_field(disks, name) for name in _DISK_FIELDS}),
        disk_image_row=rows,
        disk_number=pc.subtract(places, pc.take(starts, rows)),
    )


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _read_carefully(page: bytes) -> _Texts:
    """Read one page field by field, with each value's raw JSON at hand."""
    out = _Texts(pa.table({}), pa.table({}), [], [], [], [])
    assert isinstance(out.disk_image_row, list)  # noqa: S101  (made so on the line above)
    assert isinstance(out.disk_number, list)  # noqa: S101
    assert out.image_extra is not None  # noqa: S101
    assert out.disk_extra is not None  # noqa: S101
    images: list[dict[str, str | None]] = []
    disks: list[dict[str, str | None]] = []
    for image_row, raw_image in enumerate(_decode_list(page)):
        image = _object(raw_image)
        values, unknown = _scalars(image or {}, _IMAGE_FIELDS, out.raw, out.rejects, _Place(image_row))
        if not values["ImageId"]:
            values["ImageId"] = None
            whole = bytes(raw_image).decode()
            place = list(_IMAGE_FIELDS).index("ImageId")
            out.rejects.append(_Line(image_row, 0, place, "ImageId", _NO_ID, whole))
        images.append(values)
        entries = _disk_entries(unknown, out.rejects, image_row) if values["ImageId"] else []
        for number, raw_disk in enumerate(entries, start=1):
            disk = _object(raw_disk)
            where = _Place(image_row, number)
            if disk is None:
                out.rejects.append(where.line(-1, "", "not an object", bytes(raw_disk)))
            texts, unknown_of_disk = _scalars(disk or {}, _DISK_FIELDS, out.raw_disk, out.rejects, where, len(disks))
            disks.append(texts)
            out.disk_image_row.append(image_row)
            out.disk_number.append(number)
            out.disk_extra.append(_as_json(unknown_of_disk))
            out.unknown_fields.update(f"{_DISK}.{name}" for name in unknown_of_disk)
        out.image_extra.append(_as_json(unknown))
        out.unknown_fields.update(unknown if values["ImageId"] else ())
    out.images = pa.Table.from_pylist(images, schema=pa.schema(_strings(_IMAGE_FIELDS)))
    out.disks = pa.Table.from_pylist(disks, schema=pa.schema(_strings(_DISK_FIELDS)))
    return out


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: an image's row, and the number of the disk in it (0: the image itself)."""

    image_row: int
    disk_number: int = 0

    def line(self, place: int, name: str, reason: str, raw: bytes) -> _Line:
        """A reject at this place; `name` is the API field."""
        where = f"{_DISK}[{self.disk_number}]" + (f".{name}" if name else "") if self.disk_number else name
        return _Line(self.image_row, self.disk_number, place, where, reason, raw.decode())


def _object(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _decode_object(raw)
    except msgspec.ValidationError:
        return None


def _scalars(
    values: dict[str, msgspec.Raw],
    fields: dict[str, Column],
    raw_of: dict[tuple[int, str], str],
    rejects: list[_Line],
    where: _Place,
    row: int | None = None,
) -> tuple[dict[str, str | None], dict[str, msgspec.Raw]]:
    """The declared fields as text, and the others as they came."""
    row = where.image_row if row is None else row
    unknown = dict(values)
    texts: dict[str, str | None] = {}
    for place, name in enumerate(fields):
        raw = bytes(unknown.pop(name, b"null")).strip()
        texts[name] = None if raw == b"null" else scalar_text(raw)
        if raw != b"null" and texts[name] is None:
            rejects.append(where.line(place, name, "neither text nor a number", raw))
        elif raw[:1] != b'"' and raw != b"null":
            raw_of[row, name] = raw.decode()
    return texts, unknown


def _disk_entries(unknown: dict[str, msgspec.Raw], rejects: list[_Line], image_row: int) -> list[msgspec.Raw]:
    """Take the list of disks out of the fields that are left; what stands around it stays there."""
    raw = unknown.pop(_DISKS, None)
    if raw is None or bytes(raw).strip() == b"null":
        return []
    where = _Place(image_row)
    around = _object(raw)
    if around is None:
        rejects.append(where.line(len(_IMAGE_FIELDS), _DISKS, "not an object", bytes(raw)))
        return []
    listed = around.pop(_DISK, msgspec.Raw(b"null"))
    if around:
        unknown[_DISKS] = msgspec.Raw((_as_json(around) or "").encode())
    if bytes(listed).strip() == b"null":
        return []
    try:
        return _decode_list(listed)
    except msgspec.ValidationError:
        rejects.append(where.line(len(_IMAGE_FIELDS), f"{_DISKS}.{_DISK}", "not a list", bytes(listed)))
        return []


def _as_json(unknown: dict[str, msgspec.Raw]) -> str | None:
    if not unknown:
        return None
    return "{" + ",".join(f"{_json(name)}:{bytes(raw).decode()}" for name, raw in unknown.items()) + "}"


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _joined(parts: Sequence[_Texts]) -> _Texts:
    """Pages read one by one, as if they had been read together."""
    out = _Texts(
        images=pa.concat_tables([part.images for part in parts]),
        disks=pa.concat_tables([part.disks for part in parts]),
        disk_image_row=[],
        disk_number=[],
        image_extra=[],
        disk_extra=[],
    )
    image_rows = disk_rows = 0
    rows: list[int] = []
    numbers: list[int] = []
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    for part in parts:
        rows.extend(row + image_rows for row in _ints(part.disk_image_row))
        numbers.extend(_ints(part.disk_number))
        image_extra.extend(part.image_extra or [None] * len(part.images))
        disk_extra.extend(part.disk_extra or [None] * len(part.disks))
        out.raw.update({(row + image_rows, name): raw for (row, name), raw in part.raw.items()})
        out.raw_disk.update({(row + disk_rows, name): raw for (row, name), raw in part.raw_disk.items()})
        out.rejects.extend(
            _Line(line.image_row + image_rows, line.disk_number, line.place, line.field, line.reason, line.raw)
            for line in part.rejects
        )
        out.unknown_fields |= part.unknown_fields
        image_rows += len(part.images)
        disk_rows += len(part.disks)
    out.disk_image_row, out.disk_number = rows, numbers
    out.image_extra, out.disk_extra = image_extra, disk_extra
    return out


def _ints(values: list[int] | pa.Array) -> list[int]:
    return values if isinstance(values, list) else values.to_pylist()


# ── text → declared type ─────────────────────────────────────────────────────

_WHOLE: Final = r"^[0-9]{1,18}$"
_INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z$"


def _typed(
    texts: pa.Table,
    fields: dict[str, Column],
    raw_of: dict[tuple[int, str], str],
    rejects: _Rejects,
    *,
    disks: _Texts | None,
) -> dict[str, pa.ChunkedArray]:
    """Every column in its declared type; what does not fit is null there, and a line in `rejects`."""
    typed: dict[str, pa.ChunkedArray] = {}
    rows = numbers = None
    for place, (name, column) in enumerate(fields.items()):
        values = texts.column(name)
        if column.kind == "text":
            typed[column.name] = values
            continue
        said = pc.if_else(pc.equal(values, ""), None, values)  # empty text says nothing
        typed[column.name] = _instants(said) if column.kind == "instant" else _wholes(said)
        misfits = pc.and_(pc.is_valid(said), pc.is_null(typed[column.name]))
        for row in pc.indices_nonzero(misfits).to_pylist():
            text = values[row].as_py()
            if disks is not None and rows is None:
                rows, numbers = _ints(disks.disk_image_row), _ints(disks.disk_number)
            where = _Place(row) if rows is None or numbers is None else _Place(rows[row], numbers[row])
            raw = raw_of.get((row, name)) or _json(text)
            rejects.lines.append(where.line(place, name, _reason(column, text), raw.encode()))
    return typed


def _wholes(said: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.match_substring_regex(said, _WHOLE), said, None).cast(pa.int64())


def _instants(said: pa.ChunkedArray) -> pa.ChunkedArray:
    fits = pc.and_(pc.match_substring_regex(said, _INSTANT), pc.invert(pc.starts_with(said, "0000")))
    text = pc.replace_substring_regex(pc.if_else(fits, said, None), r"Z$", "")
    try:
        return text.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a day or an hour that no calendar has
        return pa.chunked_array([pa.array([_instant(value) for value in text.to_pylist()], pa.timestamp("us"))])


def _instant(text: str | None) -> dt.datetime | None:
    try:
        return None if text is None else dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def _reason(column: Column, text: str) -> str:
    if column.kind == "instant":
        return "not an instant such as 2017-12-08T12:10:03Z"
    if text.startswith("-") and text[1:].isdigit():
        return "negative"
    if text.isascii() and text.isdigit():
        return "too large"
    return "not a whole number"


# ── the tables ───────────────────────────────────────────────────────────────


def _kept(ids: list[str | None], seen: set[str] | None) -> list[bool] | None:
    """Which images stay: those with an id that was not there before. None: all of them."""
    if seen is None:
        return None if None not in ids else [image_id is not None for image_id in ids]
    keep = []
    for image_id in ids:
        keep.append(image_id is not None and image_id not in seen)
        if image_id is not None:
            seen.add(image_id)
    return None if all(keep) else keep


def _assemble(table: Table, account: str, observed_at_utc: dt.datetime, rows: int, columns: dict[str, Any]) -> pa.Table:
    schema = table.arrow()
    said: dict[str, Any] = {
        "account": pa.repeat(pa.scalar(account, pa.string()), rows),
        "observed_at_utc": pa.repeat(pa.scalar(observed_at_utc, pa.timestamp("us")), rows),
        **columns,
    }
    return pa.table([_as(said[name.name], name.type, rows) for name in schema], schema=schema)


def _as(values: Any, kind: pa.DataType, rows: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        return pa.nulls(rows, kind)
    return pa.array(values, kind) if isinstance(values, list) else values.cast(kind)


def _image_table(
    columns: dict[str, Any], texts: _Texts, keep: list[bool] | None, account: str, at: dt.datetime
) -> pa.Table:
    table = _assemble(IMAGES, account, at, len(texts.images), {**columns, "extra": texts.image_extra})
    return table if keep is None else table.filter(pa.array(keep))


def _disk_table(
    columns: dict[str, Any], texts: _Texts, keep: list[bool] | None, account: str, at: dt.datetime
) -> pa.Table:
    rows = _as(texts.disk_image_row, pa.int64(), 0)
    of_disk = {
        "image_id": pc.take(texts.images.column("ImageId"), rows),
        "disk_number": texts.disk_number,
        "extra": texts.disk_extra,
    }
    table = _assemble(IMAGE_DISKS, account, at, len(texts.disks), {**columns, **of_disk})
    return table if keep is None else table.filter(pc.take(pa.array(keep), rows))


def _reject_table(rejects: _Rejects, texts: _Texts, keep: list[bool] | None, account: str, at: dt.datetime) -> pa.Table:
    ids = texts.images.column("ImageId")

    def rows() -> Iterator[dict[str, object]]:
        for line in sorted(rejects.lines):
            image_id = ids[line.image_row].as_py()
            if keep is None or keep[line.image_row] or line.reason == _NO_ID:
                yield {
                    "account": account,
                    "observed_at_utc": at,
                    "image_id": image_id,
                    "field": line.field,
                    "reason": line.reason,
                    "raw_json": line.raw,
                }

    return REJECTS.to_arrow(list(rows()))
