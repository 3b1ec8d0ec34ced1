"""Reads streams by the SDK's asynchronous twin, all on one loop: a process of its own.

`python -m bench.reading URL STREAMS` prints the events that came, and the seconds from the first to the last.
"""

from __future__ import annotations

import asyncio
import sys
import time

from clawdforge import AsyncForge


async def main(url: str, streams: int) -> None:
    came = 0
    began = 0.0

    async def read(forge: AsyncForge) -> None:
        nonlocal came, began
        async for _ in forge.stream(str(streams)):
            began = began or time.monotonic()
            came += 1

    async with AsyncForge(base_url=url) as forge:
        await asyncio.gather(*(read(forge) for _ in range(streams)))
    print(came, time.monotonic() - began)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
