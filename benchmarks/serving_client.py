"""The load that `serving.py` lays on a server: completions asked for over connections that are kept open.

A client of a few lines on bare sockets, so that little of the machine's time is the client's. Each load is a
coroutine of a port; what it found is printed as one line of JSON.
"""

import asyncio
import json
import sys
import time
import urllib.request

PROMPT = "ROMEO:\n"


class Connection:
    """One connection, which asks again and again for completions of one model."""

    model = ""

    def __init__(self, port):
        self._port = port

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_):
        self._writer.close()

    async def parts(self, **asked):
        """Ask for a completion and yield the parts of the answer's body as they come."""
        body = json.dumps({"model": self.model, "prompt": PROMPT, "temperature": 0.8, **asked}).encode()
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

    async def text(self, **asked):
        """Return the text of one completion."""
        (body,) = [part async for part in self.parts(**asked)]
        return json.loads(body)["choices"][0]["text"]

    async def pieces(self, **asked):
        """Yield the text of one completion as it is written."""
        waiting = b""
        async for part in self.parts(stream=True, **asked):
            *events, waiting = (waiting + part).split(b"\n\n")
            for event in events:
                if event not in (b"data: [DONE]", b""):
                    yield json.loads(event.removeprefix(b"data: "))["choices"][0]["text"]


async def streams(port, count=32, length=20_000):
    """As many streams at once: characters a second of all together, and how many events they came in."""

    async def read(seed):
        characters = events = 0
        async with Connection(port) as connection:
            async for text in connection.pieces(max_tokens=length, seed=seed):
                characters, events = characters + len(text), events + 1
        return characters, events, time.perf_counter() - began

    began = time.perf_counter()
    found = await asyncio.gather(*map(read, range(count)))
    ends = [end for _, _, end in found]
    assert all(characters == length for characters, _, _ in found)
    return {
        "characters_per_second": count * length / max(ends),
        "characters_per_event": count * length / sum(events for _, events, _ in found),
        "first_end": min(ends),
        "last_end": max(ends),
    }


async def requests(port, connections=64, count=1000, length=500):
    """So many requests over some connections, each asking again as soon as it is answered."""
    left, latencies, answered = iter(range(count)), [], [0] * connections

    async def ask(number):
        async with Connection(port) as connection:
            for seed in left:
                began = time.perf_counter()
                text = await connection.text(max_tokens=length, seed=seed)
                latencies.append(time.perf_counter() - began)
                answered[number] += 1
                assert len(text) == length

    began = time.perf_counter()
    await asyncio.gather(*map(ask, range(connections)))
    return {
        "requests_per_second": count / (time.perf_counter() - began),
        **percentiles(latencies),
        "min_per_connection": min(answered),
        "max_per_connection": max(answered),
    }


async def first_characters(port, count=300, beside=0):
    """How soon the first character comes, of one request after another, while other streams are read beside it."""

    async def keep_reading(seed):
        async with Connection(port) as connection:
            while True:
                async for _ in connection.pieces(max_tokens=20_000, seed=seed):
                    pass

    others = [asyncio.ensure_future(keep_reading(seed)) for seed in range(beside)]
    await asyncio.sleep(1 if beside else 0)
    seconds = []
    async with Connection(port) as connection:
        for seed in range(count):
            began, first = time.perf_counter(), None
            async for text in connection.pieces(max_tokens=32, seed=seed):
                first = first or (text and time.perf_counter() - began)
            seconds.append(first)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return percentiles(seconds)


def percentiles(seconds):
    """Return what half of them, 99 of 100 and all stay below, in milliseconds."""
    ordered = sorted(seconds)
    places = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "most": len(ordered) - 1}
    return {f"{name}_ms": 1000 * ordered[place] for name, place in places.items()}


LOADS = {load.__name__: load for load in (streams, requests, first_characters)}


def main():
    name, port, asked = sys.argv[1:]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
        Connection.model = json.load(answer)["data"][0]["id"]
    print(json.dumps(asyncio.run(LOADS[name](int(port), **json.loads(asked)))))


if __name__ == "__main__":
    main()
