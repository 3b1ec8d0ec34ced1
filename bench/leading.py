"""A relay by itself, as a gateway has one for each session without a network. Arguments: the model's base URL, and
the path of the socket to which the door is to be brought. Ends with its standard input."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from clawdforge.server.sandbox.endpoint import Endpoint
from clawdforge.server.sandbox.relay import Relay


async def main() -> None:
    base_url, path = sys.argv[1:]
    relay = await Relay.open(Endpoint.at(base_url), Path(path))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await relay.close()


asyncio.run(main())
