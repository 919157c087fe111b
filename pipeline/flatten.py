"""Pages → typed tables, and rejects with a reason. Pure: no files, no network.

    bodies ─┬─ pyarrow's JSON reader over whole bodies: every field as text         fast, the usual way
            └─ where anything is not as published: the list of images in each, byte for byte
                 ├─ the same reader over whole lists                                a little slower
                 ├─ where a field is not known: the same, and those beside it       half as fast
                 └─ where anything else is odd: page by page, value by value
           ─→ text → declared type, a column at a time; what does not fit: null, and a row in `rejects`

Every way ends in the same columns of text, so a value is typed in one place
only. Fields that are not declared go to `extra`; one bad value never costs its
neighbours; only an image without an id is left out whole.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.certificate import image_list, refuse_no_utf8, scalar_text
from pipeline.mending import NOTHING, SetAside
from pipeline.schema import Table
from pipeline.tables import IMAGE_DISKS, IMAGES, REJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.schema import Column

_DISKS: Final = "DiskDeviceMappings"
_DISK: Final = "DiskDeviceMapping"
_NO_ID: Final = "no id: the image is left out"
_LONGEST_AT_ONCE: Final = 1 << 30
"""Bytes that are read at once: Arrow counts them in 32 bits."""


def _fields(table: Table, *, without: str | None = None) -> dict[str, Column]:
    """The API's fields of a table, in declared order: API name → column."""
    return {column.api: column for column in table.columns if column.api and column.name != without}


_IMAGE_FIELDS: Final = _fields(IMAGES)
_DISK_FIELDS: Final = _fields(IMAGE_DISKS, without="image_id")
_ID_PLACE: Final = list(_IMAGE_FIELDS).index("ImageId")


def _strings(names: Iterable[str]) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in names])


_IMAGE_TEXTS: Final = _strings(_IMAGE_FIELDS)
_DISK_TEXTS: Final = _strings(_DISK_FIELDS)
_DISK_STRUCT: Final = pa.struct([pa.field(_DISK, pa.list_(pa.struct(list(_DISK_TEXTS))))])
_LIST_SCHEMA: Final = pa.schema(
    [pa.field("Image", pa.list_(pa.struct([*_IMAGE_TEXTS, pa.field(_DISKS, _DISK_STRUCT)])))]
)
_BODY_SCHEMA: Final = pa.schema(
    [
        pa.field("Code", pa.int64()),
        pa.field("Images", pa.struct(list(_LIST_SCHEMA))),
        *_strings(("RequestId", "PageSize", "PageNumber", "TotalCount")),
    ]
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
    The bodies are pages that `read_page` could read.
    """
    texts = _read_bodies(bodies) or _texts([image_list(body) for body in bodies])
    rejects = list(texts.rejects)
    images = _typed(texts.images, _IMAGE_FIELDS, texts.raw, rejects, disks=None)
    disks = _typed(texts.disks, _DISK_FIELDS, texts.raw_disk, rejects, disks=texts)
    keep = _kept(texts.images.column("ImageId"), seen)
    return Flat(
        images=_image_table({**images, **_disk_sums(disks, texts)}, texts, keep, account, observed_at_utc),
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
class _Texts:
    """Images and disks as columns of text, and what the way there has found."""

    images: pa.RecordBatch
    disks: pa.RecordBatch
    disk_count: pa.Array
    """Of each image."""
    disk_image_row: pa.Array
    disk_number: pa.Array
    image_extra: list[str | None] | None = None
    disk_extra: list[str | None] | None = None
    raw: dict[tuple[int, str], str] = field(default_factory=dict)
    """Raw JSON of values that were no JSON strings: (row, field) → text."""
    raw_disk: dict[tuple[int, str], str] = field(default_factory=dict)
    rejects: list[_Line] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


def _texts(pages: list[tuple[bytes, SetAside]]) -> _Texts:
    if not pages:
        return _read_carefully(b"[]", NOTHING)
    if all(aside is NOTHING for _, aside in pages):
        lists = [page for page, _ in pages]
        texts = (_read_quickly(lists) if len(lists) > 1 else None) or _read_with_extras(lists)
        if texts is not None:
            return texts
    return _read_carefully(*pages[0]) if len(pages) == 1 else _joined([_texts([page]) for page in pages])


def _read_bodies(bodies: Sequence[bytes]) -> _Texts | None:
    """Let pyarrow read whole answers as published; None where anything in them is not as published."""
    table = _read_lines(bodies, _BODY_SCHEMA) if bodies else None
    return None if table is None else _as_texts(pc.struct_field(table.column("Images").combine_chunks(), "Image"))


def _read_quickly(lists: Sequence[bytes], unknown_fields: str = "error") -> _Texts | None:
    """The same of their lists of images alone."""
    table = _read_lines([b'{"Image":%b}' % one for one in lists], _LIST_SCHEMA, unknown_fields)
    return None if table is None else _as_texts(table.column("Image").combine_chunks())


def _read_lines(pages: Sequence[bytes], schema: pa.Schema, unknown_fields: str = "error") -> pa.Table | None:
    if sum(map(len, pages)) > _LONGEST_AT_ONCE:
        return None
    try:
        for page in pages:
            refuse_no_utf8(page)  # pyarrow lets it through
        # a line a page: a raw line break can only stand between JSON's tokens
        lines = b"\n".join([page.replace(b"\n", b" ").replace(b"\r", b" ") for page in pages])
        table = pyarrow.json.read_json(
            pa.BufferReader(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 16)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior=unknown_fields
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if len(table) == len(pages) else None


def _as_texts(lists: pa.Array) -> _Texts | None:
    """Columns of text from a list of images a page; None where an image is null, or has no id."""
    images = pc.list_flatten(lists)
    *texts, around = images.flatten()  # as in the schema: a null image is null in every field
    ids = texts[_ID_PLACE]
    if images.null_count or ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        return None
    (lists,) = around.flatten()
    disks = pc.list_flatten(lists)
    if disks.null_count:
        return None
    rows = pc.list_parent_indices(lists)
    counts = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
    starts = pc.subtract(pc.cumulative_sum(counts), counts)
    places = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(disks)))
    return _Texts(
        images=pa.RecordBatch.from_arrays(texts, schema=_IMAGE_TEXTS),
        disks=pa.RecordBatch.from_arrays(disks.flatten(), schema=_DISK_TEXTS),
        disk_count=counts,
        disk_image_row=rows,
        disk_number=pc.subtract(places, pc.take(starts, rows)),
    )


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def _read_with_extras(pages: list[bytes]) -> _Texts | None:
    """The same where the only thing not as published is that there are more fields."""
    texts = _read_quickly(pages, "ignore")
    if texts is None:
        return None
    texts.image_extra, texts.disk_extra = [], []
    for image in itertools.chain.from_iterable(map(_decode_objects, pages)):
        unknown = {name: raw for name, raw in image.items() if name not in _IMAGE_FIELDS}
        for disk in _disk_entries(unknown, [], _Place(0), NOTHING):
            unknown_of_disk = {name: raw for name, raw in _decode_object(disk).items() if name not in _DISK_FIELDS}
            texts.disk_extra.append(_as_json(unknown_of_disk))
            texts.unknown_fields.update(f"{_DISK}.{name}" for name in unknown_of_disk)
        texts.image_extra.append(_as_json(unknown))
        texts.unknown_fields.update(unknown)
    return texts


def _read_carefully(page: bytes, aside: SetAside) -> _Texts:
    """Read one page field by field, with each value's raw JSON at hand."""
    images: list[dict[str, str | None]] = []
    disks: list[dict[str, str | None]] = []
    rows: list[int] = []
    numbers: list[int] = []
    counts = Counter[int]()
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    raw: dict[tuple[int, str], str] = {}
    raw_disk: dict[tuple[int, str], str] = {}
    rejects: list[_Line] = []
    unknown_fields: set[str] = set()
    for image_row, raw_image in enumerate(_decode_list(page)):
        where = _Place(image_row)
        unknown = _object(raw_image) or {}
        values = _scalars(unknown, _IMAGE_FIELDS, raw, rejects, where, image_row, aside)
        images.append(values)
        if not values["ImageId"]:
            values["ImageId"] = None
            rejects.append(where.line(_ID_PLACE, "ImageId", _NO_ID, aside.as_sent(raw_image)))
            image_extra.append(None)
            continue
        for number, raw_disk_entry in enumerate(_disk_entries(unknown, rejects, where, aside), start=1):
            disk = _object(raw_disk_entry)
            of_disk = _Place(image_row, number)
            if disk is None:
                rejects.append(of_disk.line(-1, None, "not an object", aside.as_sent(raw_disk_entry)))
                disk = {}
            disks.append(_scalars(disk, _DISK_FIELDS, raw_disk, rejects, of_disk, len(disks), aside))
            rows.append(image_row)
            numbers.append(number)
            counts[image_row] = number
            disk_extra.append(_as_json(_readable(disk, rejects, of_disk, aside)))
            unknown_fields.update(f"{_DISK}.{aside.shown(name)}" for name in disk)
        image_extra.append(_as_json(_readable(unknown, rejects, where, aside)))
        unknown_fields.update(map(aside.shown, unknown))
    return _Texts(
        images=pa.RecordBatch.from_pylist(images, schema=_IMAGE_TEXTS),
        disks=pa.RecordBatch.from_pylist(disks, schema=_DISK_TEXTS),
        disk_count=pa.array([counts[row] for row in range(len(images))], pa.int64()),
        disk_image_row=pa.array(rows, pa.int64()),
        disk_number=pa.array(numbers, pa.int64()),
        image_extra=image_extra,
        disk_extra=disk_extra,
        raw=raw,
        raw_disk=raw_disk,
        rejects=rejects,
        unknown_fields=unknown_fields,
    )


_AFTER_THE_FIELDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: an image's row, and the number of the disk in it (0: the image itself)."""

    image_row: int
    disk_number: int = 0

    def line(self, place: int, name: str | None, reason: str, raw: str) -> _Line:
        """A reject at this place; `name` is the API field, None the disk as a whole."""
        parts = (f"{_DISK}[{self.disk_number}]" if self.disk_number else None, name)
        where = ".".join(part for part in parts if part is not None)
        return _Line(self.image_row, self.disk_number, place, where, reason, raw)


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
    row: int,
    aside: SetAside,
) -> dict[str, str | None]:
    """Take the declared fields out of `values`, as text; the others stay there."""
    texts: dict[str, str | None] = {}
    for place, name in enumerate(fields):
        raw = bytes(values.pop(name, b"null"))
        if raw == b"null":
            texts[name] = None
            continue
        texts[name] = text = scalar_text(raw, aside)
        if text is None:
            reason = aside.why(raw) if aside.is_in(raw) else "neither text nor a number"
            rejects.append(where.line(place, name, reason, aside.as_sent(raw)))
        elif raw[:1] != b'"':
            raw_of[row, name] = text
    return texts


def _disk_entries(
    unknown: dict[str, msgspec.Raw], rejects: list[_Line], where: _Place, aside: SetAside
) -> list[msgspec.Raw]:
    """Take the list of disks out of the fields that are left; what stands around it stays there."""
    raw = unknown.pop(_DISKS, None)
    if raw is None or bytes(raw) == b"null":
        return []
    around = _object(raw)
    if around is None:
        rejects.append(where.line(_AFTER_THE_FIELDS, _DISKS, "not an object", aside.as_sent(raw)))
        return []
    listed = around.pop(_DISK, msgspec.Raw(b"null"))
    if around:
        rest = {aside.shown(name): raw for name, raw in around.items()}
        unknown[_DISKS] = msgspec.Raw((_as_json(rest) or "").encode())
    if bytes(listed) == b"null":
        return []
    try:
        return _decode_list(listed)
    except msgspec.ValidationError:
        rejects.append(where.line(_AFTER_THE_FIELDS, f"{_DISKS}.{_DISK}", "not a list", aside.as_sent(listed)))
        return []


def _readable(
    unknown: dict[str, msgspec.Raw], rejects: list[_Line], where: _Place, aside: SetAside
) -> dict[str, msgspec.Raw]:
    """The unknown fields as any reader of JSON can read them: what cannot be read is null, and a reject."""
    if not aside.mark:
        return unknown
    readable = {}
    for name, raw in unknown.items():
        said = aside.shown(name)
        readable[said] = raw
        if aside.is_in(raw):
            rejects.append(where.line(_AFTER_THE_FIELDS, said, aside.why(raw), aside.as_sent(raw)))
            readable[said] = msgspec.Raw(b"null")
    return readable


def _as_json(unknown: dict[str, msgspec.Raw]) -> str | None:
    if not unknown:
        return None
    return "{" + ",".join(f"{_json(name)}:{bytes(raw).decode()}" for name, raw in unknown.items()) + "}"


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _joined(parts: Sequence[_Texts]) -> _Texts:
    """Pages read one by one, as if they had been read together."""
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    rows: list[pa.Array] = []
    out = replace(
        parts[0],
        images=pa.concat_batches([part.images for part in parts]),
        disks=pa.concat_batches([part.disks for part in parts]),
        disk_count=pa.concat_arrays([part.disk_count for part in parts]),
        disk_number=pa.concat_arrays([part.disk_number for part in parts]),
        image_extra=image_extra,
        disk_extra=disk_extra,
        raw={},
        raw_disk={},
        rejects=[],
        unknown_fields=set(),
    )
    image_rows = disk_rows = 0
    for part in parts:
        rows.append(pc.add(part.disk_image_row, image_rows))
        image_extra += part.image_extra or [None] * len(part.images)
        disk_extra += part.disk_extra or [None] * len(part.disks)
        out.raw.update({(row + image_rows, name): raw for (row, name), raw in part.raw.items()})
        out.raw_disk.update({(row + disk_rows, name): raw for (row, name), raw in part.raw_disk.items()})
        out.rejects += [replace(line, image_row=line.image_row + image_rows) for line in part.rejects]
        out.unknown_fields |= part.unknown_fields
        image_rows += len(part.images)
        disk_rows += len(part.disks)
    out.disk_image_row = pa.concat_arrays(rows)
    return out


# ── text → declared type ─────────────────────────────────────────────────────

_INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z$"


def _typed(
    texts: pa.RecordBatch,
    fields: dict[str, Column],
    raw_of: dict[tuple[int, str], str],
    rejects: list[_Line],
    *,
    disks: _Texts | None,
) -> dict[str, pa.Array]:
    """Every column in its declared type; what does not fit is null there, and a line in `rejects`."""
    typed: dict[str, pa.Array] = {}
    for place, (name, column) in enumerate(fields.items()):
        values = texts.column(name)
        if column.kind == "text":
            typed[column.name] = values
            continue
        fits, typed[column.name] = (
            _instants(values) if column.kind == "instant" else _wholes(values, column.most_digits)
        )
        says_nothing = pc.equal(values, "")
        for row in pc.indices_nonzero(pc.invert(pc.or_(fits, says_nothing))).to_pylist():
            where = (
                _Place(row)
                if disks is None
                else _Place(disks.disk_image_row[row].as_py(), disks.disk_number[row].as_py())
            )
            text = values[row].as_py()
            rejects.append(where.line(place, name, _reason(column, text), raw_of.get((row, name)) or _json(text)))
    return typed


def _wholes(values: pa.Array, most_digits: int) -> tuple[pa.Array, pa.Array]:
    """Which texts are whole numbers (null: nothing is said), and the numbers."""
    fits = pc.and_(pc.ascii_is_decimal(values), pc.less_equal(pc.binary_length(values), most_digits))
    return fits, pc.if_else(fits, values, None).cast(pa.int64())


def _instants(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Which texts are instants (null: nothing is said), and the instants."""
    fits = pc.and_not(pc.match_substring_regex(values, _INSTANT), pc.starts_with(values, "0000"))
    said = pc.if_else(fits, pc.utf8_slice_codeunits(values, 0, -1), None)  # without the Z
    try:
        return fits, said.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a day or an hour that no calendar has
        instants = pa.array(map(_instant, said.to_pylist()), pa.timestamp("us"))
        return pc.and_(fits, pc.or_(pc.is_null(values), pc.is_valid(instants))), instants


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

_schema = functools.cache(Table.arrow)


def _kept(ids: pa.Array, seen: set[str] | None) -> pa.Array | None:
    """Which images stay: those with an id that was not there before. None: all of them."""
    if seen is None:
        return pc.is_valid(ids) if ids.null_count else None
    keep = []
    for image_id in ids.to_pylist():
        keep.append(image_id is not None and image_id not in seen)
        seen.add(image_id)
    return None if all(keep) else pa.array(keep)


def _assemble(table: Table, account: str, observed_at_utc: dt.datetime, rows: int, columns: dict[str, Any]) -> pa.Table:
    schema = _schema(table)
    said: dict[str, Any] = {
        "account": pa.repeat(pa.scalar(account, pa.string()), rows),
        "observed_at_utc": pa.repeat(pa.scalar(observed_at_utc, pa.timestamp("us")), rows),
        **columns,
    }
    return pa.Table.from_arrays([_as(said[name.name], name.type, rows) for name in schema], schema=schema)


def _as(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    return pa.array(values, kind) if isinstance(values, list) else values.cast(kind)


def _disk_sums(disks: dict[str, pa.Array], texts: _Texts) -> dict[str, pa.Array]:
    """What the disks of each image come to; they lie in the order of their images."""
    counts, sizes = texts.disk_count, disks["disk_size_gib"]
    ends = pc.cumulative_sum(counts)
    starts = pc.subtract(ends, counts)

    def summed(values: pa.Array) -> pa.Array:
        so_far = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(values)])
        return pc.subtract(so_far.take(ends), so_far.take(starts))

    unsized = summed(pc.is_null(sizes).cast(pa.int64()))
    size = pc.if_else(pc.equal(unsized, counts), None, summed(pc.fill_null(sizes, 0)))
    return {"disk_count": counts, "unsized_disk_count": unsized, "disk_size_gib": size}


def _image_table(
    columns: dict[str, Any], texts: _Texts, keep: pa.Array | None, account: str, at: dt.datetime
) -> pa.Table:
    table = _assemble(IMAGES, account, at, len(texts.images), {**columns, "extra": texts.image_extra})
    return table if keep is None else table.filter(keep)


def _disk_table(
    columns: dict[str, Any], texts: _Texts, keep: pa.Array | None, account: str, at: dt.datetime
) -> pa.Table:
    of_disk = {
        "image_id": pc.take(texts.images.column("ImageId"), texts.disk_image_row),
        "disk_number": texts.disk_number,
        "extra": texts.disk_extra,
    }
    table = _assemble(IMAGE_DISKS, account, at, len(texts.disks), {**columns, **of_disk})
    return table if keep is None else table.filter(pc.take(keep, texts.disk_image_row))


def _reject_table(
    rejects: list[_Line], texts: _Texts, keep: pa.Array | None, account: str, at: dt.datetime
) -> pa.Table:
    ids = texts.images.column("ImageId")
    rows = [
        {
            "account": account,
            "observed_at_utc": at,
            "image_id": ids[line.image_row].as_py(),
            "field": line.field,
            "reason": line.reason,
            "raw_json": line.raw,
        }
        for line in sorted(rejects)
        if keep is None or keep[line.image_row].as_py() or line.reason == _NO_ID
    ]
    return pa.Table.from_pylist(rows, schema=_schema(REJECTS))
