"""A chat server that answers any question after a fixed time, a fixed number at once; a process of its own."""

import asyncio
import json
import sys

from aiohttp import web

LARGEST_BYTES = 1 << 27


def application(latency_s: float, slots: int) -> web.Application:
    room = asyncio.Semaphore(slots)
    choice = {"message": {"role": "assistant", "content": "A dog barks while rain falls."}, "finish_reason": "stop"}
    answer = json.dumps({"choices": [choice]}).encode()

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        async with room:
            await asyncio.sleep(latency_s)
        return web.Response(body=answer, content_type="application/json")

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "made/Model"}]})

    made = web.Application(client_max_size=LARGEST_BYTES)
    made.add_routes([web.post("/v1/chat/completions", complete), web.get("/v1/models", models)])
    return made


async def serve(latency_s: float, slots: int) -> None:
    """Serve on a free port, which is printed, until standard input ends."""
    runner = web.AppRunner(application(latency_s, slots), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
