"""What nobody can be faster than: pages downloaded and dropped, decoded and dropped; the tables written alone.

python tests/bench/limits.py download|decode URL FOLDER WORKERS
python tests/bench/limits.py write LAKE FOLDER
python tests/bench/limits.py pieces LAKE FOLDER
"""

import asyncio
import sys
from pathlib import Path


async def download(url: str, workers: int, *, is_decoded: bool) -> None:
    import aiohttp
    import orjson

    numbers = iter(range(2, 1 << 30))
    count = 1

    async def read(session: aiohttp.ClientSession, number: int) -> bytes:
        async with session.post(f"{url}/?PageNumber={number}&PageSize=50") as answer:
            return await answer.read()

    async def work(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) <= count:
            body = await read(session, number)
            if is_decoded:
                orjson.loads(body)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        first = await read(session, 1)
        count = -(-int(orjson.loads(first)["TotalCount"]) // 50)
        await asyncio.gather(*(work(session) for _ in range(workers)))


def write(lake: Path, folder: Path) -> None:
    """Write the tables of a lake again, and nothing else; reading them does not count."""
    import time

    import pyarrow.parquet as pq

    tables = {
        name: [pq.ParquetFile(path).read() for path in sorted((lake / "lake" / name).glob("*/*.parquet"))]
        for name in ("images", "image_disks")
    }
    began = time.perf_counter()
    for name, found in tables.items():
        for number, table in enumerate(found):
            pq.write_table(table, folder / f"{name}-{number}.parquet", compression="zstd", row_group_size=65_536)
    print(time.perf_counter() - began)  # noqa: T201


def pieces(lake: Path, folder: Path) -> None:
    """What each piece of our own work costs a page: microseconds of processor time, one piece after the other."""
    import json
    import time

    import pyarrow as pa

    from pipeline.credentials import Key
    from pipeline.extract.attempt import utc_now
    from pipeline.extract.completeness import evidence
    from pipeline.extract.raw_pages import RawRun, raw_paths
    from pipeline.extract.response import read_page
    from pipeline.extract.signing import signed_headers
    from pipeline.lake.commit import _TableWriter
    from pipeline.lake.publish import read_answers
    from pipeline.resources.control import RAW_PAGES
    from pipeline.resources.images import IMAGE_DISKS, IMAGES, IMAGES_RESOURCE
    from pipeline.transform.assemble import flatten

    pa.set_cpu_count(1)
    took: dict[str, float] = {}
    raw = RawRun(raw_paths(lake)[-1])
    rows = [(row, body) for row, body in raw.answers() if body is not None]

    def timed(name: str, began: float) -> None:
        took[name] = (time.process_time() - began) / len(rows) * 1e6

    # What loads with the first use of each is no page's.
    pa.Table.from_pylist([{**rows[0][0], "body": rows[0][1]}], schema=RAW_PAGES.arrow())
    flatten([body for _, body in rows[:64]], "prod", rows[0][0]["received_at_utc"])
    host, key, at = "ens.aliyuncs.com", Key("emulator", "emulator", None), utc_now()
    signed_headers(
        host, key, IMAGES_RESOURCE.action, {"PageNumber": "1", "PageSize": "50"}, at
    )  # imports the vendor's library
    began = time.process_time()
    for number in range(len(rows)):
        signed_headers(host, key, IMAGES_RESOURCE.action, {"PageNumber": str(number), "PageSize": "50"}, at)
    timed("signature", began)
    began = time.process_time()
    for _, body in rows:
        read_page(body)
    timed("checks of the page and its ids", began)
    began = time.process_time()
    schema = RAW_PAGES.arrow()
    with RAW_PAGES.writer(folder / "raw.parquet") as file:
        for start in range(0, len(rows), 256):
            listed = [{**row, "body": body} for row, body in rows[start : start + 256]]
            file.write_table(pa.Table.from_pylist(listed, schema=schema))
    timed("compression and write of raw pages", began)
    began = time.process_time()
    flat = [
        flatten([body for _, body in rows[start : start + 64]], "prod", rows[0][0]["received_at_utc"])
        for start in range(0, len(rows), 64)
    ]
    timed("flatten", began)
    began = time.process_time()
    for table in (IMAGES, IMAGE_DISKS):
        writer = _TableWriter(table, folder / f"{table.name}.parquet")
        for tables in flat:
            writer.add(tables.by_table[table])
        writer.close()
    timed("compression and write of tables", began)
    (answers,) = read_answers(raw).values()
    began = time.process_time()
    evidence([answer for _, answer in answers], 1)
    timed("certificate and digest of the ids", began)
    print(json.dumps(took))  # noqa: T201


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind in {"write", "pieces"}:
        {"write": write, "pieces": pieces}[kind](Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        asyncio.run(download(sys.argv[2], int(sys.argv[4]), is_decoded=kind == "decode"))
