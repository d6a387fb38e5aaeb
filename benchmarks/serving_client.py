"""Load generator of `serving.py`: requests completions over connections that stay open.

A small client on bare sockets, so that it uses little of the machine's time. Each load is a coroutine that takes the
port and returns its results; they are printed as one JSON line.
"""

import asyncio
import json
import sys
import time
import urllib.request

PROMPT = "ROMEO:\n"


class Connection:
    """A persistent connection that requests completions of one model."""

    model = ""

    def __init__(self, port):
        self._port = port

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_):
        self._writer.close()

    async def parts(self, **options):
        """Request a completion and yield the parts of the response body as they arrive."""
        body = json.dumps({"model": self.model, "prompt": PROMPT, "temperature": 0.8, **options}).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        if " 200 " not in status:
            raise SystemExit(f"{status}: {await self._reader.read(1000)}")
        if "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)

    async def text(self, **options):
        """Return the text of one completion."""
        (body,) = [part async for part in self.parts(**options)]
        return json.loads(body)["choices"][0]["text"]

    async def pieces(self, **options):
        """Request a stream and yield its text as it arrives."""
        buffer = b""
        async for part in self.parts(stream=True, **options):
            *events, buffer = (buffer + part).split(b"\n\n")
            for event in events:
                if event not in (b"data: [DONE]", b""):
                    yield json.loads(event.removeprefix(b"data: "))["choices"][0]["text"]


async def streams(port, count=32, length=20_000):
    """Read `count` streams concurrently; return their total characters per second and characters per event."""

    async def read(seed):
        characters = events = 0
        async with Connection(port) as connection:
            async for text in connection.pieces(max_tokens=length, seed=seed):
                characters, events = characters + len(text), events + 1
        return characters, events, time.perf_counter() - began

    began = time.perf_counter()
    streams_read = await asyncio.gather(*map(read, range(count)))
    ends = [end for _, _, end in streams_read]
    assert all(characters == length for characters, _, _ in streams_read)
    return {
        "characters_per_second": count * length / max(ends),
        "characters_per_event": count * length / sum(events for _, events, _ in streams_read),
        "first_end": min(ends),
        "last_end": max(ends),
    }


async def requests(port, connections=64, count=1000, length=500):
    """Send `count` requests over `connections` connections, each sending the next when it is answered."""
    seeds, latencies, answered = iter(range(count)), [], [0] * connections

    async def send_requests(number):
        async with Connection(port) as connection:
            for seed in seeds:
                began = time.perf_counter()
                text = await connection.text(max_tokens=length, seed=seed)
                latencies.append(time.perf_counter() - began)
                answered[number] += 1
                assert len(text) == length

    began = time.perf_counter()
    await asyncio.gather(*map(send_requests, range(connections)))
    return {
        "requests_per_second": count / (time.perf_counter() - began),
        **percentiles(latencies),
        "min_per_connection": min(answered),
        "max_per_connection": max(answered),
    }


async def first_characters(port, count=300, other_streams=0):
    """Measure the time to the first character of consecutive requests, while other streams are active."""

    async def keep_reading(seed):
        async with Connection(port) as connection:
            while True:
                async for _ in connection.pieces(max_tokens=20_000, seed=seed):
                    pass

    readers = [asyncio.ensure_future(keep_reading(seed)) for seed in range(other_streams)]
    await asyncio.sleep(1 if other_streams else 0)
    seconds = []
    async with Connection(port) as connection:
        for seed in range(count):
            began, first = time.perf_counter(), None
            async for text in connection.pieces(max_tokens=32, seed=seed):
                first = first or (text and time.perf_counter() - began)
            seconds.append(first)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return percentiles(seconds)


def percentiles(seconds):
    """Return the median, 99th percentile and maximum in milliseconds."""
    ordered = sorted(seconds)
    indices = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {f"{name}_ms": 1000 * ordered[index] for name, index in indices.items()}


LOADS = {load.__name__: load for load in (streams, requests, first_characters)}


def main():
    name, port, options = sys.argv[1:]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
        Connection.model = json.load(answer)["data"][0]["id"]
    print(json.dumps(asyncio.run(LOADS[name](int(port), **json.loads(options)))))


if __name__ == "__main__":
    main()
