"""A target that takes everything at once: reads the body, answers 201 with a new image ID, keeps nothing.

It is cheaper than the sandbox, so that the figures are those of the sender.
"""

import asyncio
import itertools
import signal

from aiohttp import web

ANSWER = '<Image xmlns="http://www.concursolutions.com/api/image/2011/02"><Id>image-{}</Id><Url /></Image>'


def main() -> None:
    asyncio.run(_serve())


async def _serve() -> None:
    numbers = itertools.count(1)

    async def take(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response(status=201, text=ANSWER.format(next(numbers)), content_type="application/xml")

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - the port is the interface
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
