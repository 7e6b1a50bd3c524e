"""One exchange after the other with an IMAP server: a command, its deadline, its answer; and IDLE.

Whatever interrupts an exchange, a cancelled task included, ends the connection: what is still to come could
be taken for the answer to the next command (RFC 9051 section 5.5).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import aioimaplib

from ingestd.sources.mail.imap_answers import keyword, response_code
from ingestd.sources.mail.imap_errors import ImapLost, ImapRefused
from ingestd.sources.mail.imap_framing import Answer
from ingestd.sources.mail.imap_wire import Conversation, Idling, Request, Wire

LOGOUT_SECONDS = 2.0
NOOP_EVERY = timedelta(seconds=30)
"""How often a server without IDLE is asked for news."""
ABORT_SECONDS = 1.0
"""How long the event loop may take to close the socket of an aborted connection."""

_Meaning = TypeVar("_Meaning")
_Said = TypeVar("_Said")


class ImapServer:
    """The other end of a connection. `deadline` as in MailboxSettings."""

    def __init__(self, wire: Wire, deadline: timedelta) -> None:
        self.wire = wire
        self._deadline = deadline
        self._busy = False

    @property
    def peer(self) -> str:
        return self.wire.peer

    @property
    def alive(self) -> bool:
        return self.wire.alive

    @property
    def logged_in(self) -> bool:
        return self.wire.state in {aioimaplib.AUTH, aioimaplib.SELECTED}

    def logged_in_now(self) -> None:
        self._enter(aioimaplib.AUTH)

    def selected_now(self, *, selected: bool) -> None:
        """Whether a mailbox is selected; without one, its commands are not sent."""
        self._enter(aioimaplib.SELECTED if selected else aioimaplib.AUTH)

    async def ask(self, name: str, *args: str, payload: int = 0) -> Sequence[Answer]:
        """The untagged answers to a command that the server obeys. Raises ImapLost, ImapRefused."""
        return (await self.request(name, *args, payload=payload)).answers

    async def request(self, name: str, *args: str, payload: int = 0) -> Request:
        return await self.obeyed(Request(name, self.wire.new_tag(), *args, payload=payload))

    async def append(self, mailbox: str, message: bytes) -> None:
        tag = self.wire.new_tag()
        await self.obeyed(Conversation("APPEND", tag, mailbox, f"{{{len(message)}}}", parts=(message,)))

    async def obeyed(self, request: Request) -> Request:
        """The request, answered with OK. Raises ImapLost, ImapRefused."""
        await self.run(request)
        if request.result != "OK":
            raise self._refusal(request)
        return request

    async def run(self, request: Request) -> None:
        """Sent and answered, whatever the answer. Raises ImapLost."""
        async with self._exchange(request.title), self.wire.deadline():
            await self.wire.execute(request)

    async def idle(self, longest: timedelta) -> bool:
        """True: the server said something that changes the mailbox; False: time was up."""
        idling = Idling(self.wire.new_tag())
        async with self._exchange("IDLE"):
            async with self.wire.deadline():
                self.wire.begin(idling)
                await idling.begun.wait()
            await _event_within(idling.woken, longest)
            async with self.wire.deadline():
                if not idling.over:
                    self.wire.send("DONE")
                await idling.wait()
        if idling.result != "OK":
            raise self._refusal(idling)
        return idling.said or self.wire.news

    async def poll(self, longest: timedelta) -> bool:
        """The same for a server without IDLE."""
        loop = asyncio.get_running_loop()
        end = loop.time() + longest.total_seconds()
        while True:
            changes = [answer for answer in await self.ask("NOOP") if keyword(answer) != "OK"]
            left = timedelta(seconds=end - loop.time())
            if changes or left <= timedelta():
                return bool(changes)
            await _event_within(self.wire.lost, min(NOOP_EVERY, left))

    def understood(self, meaning: Callable[[_Said], _Meaning], said: _Said) -> _Meaning:
        """Raises ImapLost where the answer means nothing: what follows it would not be understood either."""
        try:
            return meaning(said)
        except (ValueError, LookupError) as error:
            self.abort("the answer was not understood")
            raise ImapLost(f"{self.peer} answers what can't be understood: {error}") from None

    async def log_out(self) -> None:
        """LOGOUT where the server is still there, for 2 s at most; then the connection is no more."""
        try:
            if self.alive and not self._busy:
                async with asyncio.timeout(LOGOUT_SECONDS):
                    await self.wire.execute(Request("LOGOUT", self.wire.new_tag()))
        except (TimeoutError, ImapLost):
            pass
        finally:
            await self.end("the session was closed")

    async def end(self, reason: str) -> None:
        """Returns when the socket is closed."""
        self.abort(reason)
        await _event_within(self.wire.lost, timedelta(seconds=ABORT_SECONDS))

    def abort(self, reason: str) -> None:
        self.wire.abort(reason)

    def _enter(self, state: str) -> None:
        if self.alive:
            self.wire.state = state

    @asynccontextmanager
    async def _exchange(self, title: str) -> AsyncIterator[None]:
        if self._busy:
            raise RuntimeError(f"{title} while another command is under way")
        if self.wire.broken is not None:
            raise ImapLost(self.wire.broken)
        self._busy = True
        try:
            yield
        except TimeoutError:
            seconds = self._deadline.total_seconds()
            reason = f"{self.peer} was silent, or almost, for {seconds:g} s when asked for {title}"
            await self.end(reason)
            raise ImapLost(reason) from None
        except BaseException:
            self.abort(f"{title} was interrupted")
            raise
        finally:
            self._busy = False

    def _refusal(self, request: Request) -> ImapRefused:
        said = request.text or request.result
        return ImapRefused(f"{self.peer} refuses {request.title}: {said}", response_code(request.text)[0])


async def _event_within(event: asyncio.Event, longest: timedelta) -> None:
    try:
        async with asyncio.timeout(longest.total_seconds()):
            await event.wait()
    except TimeoutError:
        pass
