"""What nobody can be faster than: pages downloaded and dropped, decoded and dropped; the tables written alone.

python tests/bench/limits.py download|decode URL FOLDER WORKERS
python tests/bench/limits.py write LAKE FOLDER
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


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        asyncio.run(download(sys.argv[2], int(sys.argv[4]), is_decoded=kind == "decode"))
