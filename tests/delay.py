"""A way to a server that takes its time, and can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def delayed(port: int, round_trip: float, listen_at: int = 0) -> AsyncIterator[int]:
    """
    A port that leads to *port*, with so many seconds for a *round_trip*, that of the first packet included: any, or the one to
    *listen_at*.
    """
    pumps: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        sending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def deliver() -> None:
            while True:
                at, data = await sending.get()
                await asyncio.sleep(at - loop.time())
                sink.write(data)

        delivering = asyncio.create_task(deliver())
        try:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    sending.put_nowait((loop.time() + round_trip / 2, data))
        finally:
            delivering.cancel()
            sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        away_reader, away_writer = await asyncio.open_connection("127.0.0.1", port)
        for source, sink in ((reader, away_writer), (away_reader, writer)):
            pumps.add(asyncio.create_task(pump(source, sink)))

    async with await asyncio.start_server(accept, "127.0.0.1", listen_at) as listening:
        yield listening.sockets[0].getsockname()[1]
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
