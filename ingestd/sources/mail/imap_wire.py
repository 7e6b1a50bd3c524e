"""aioimaplib's protocol made safe: a lost or broken connection is told at once to the command that waits,
answers are cut without recursion, memory and time are bounded, and no secret reaches a log or an error.

One command at a time: a session never has two under way.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioimaplib

from ingestd.sources.mail.imap_answers import count, keyword
from ingestd.sources.mail.imap_errors import ImapLost
from ingestd.sources.mail.imap_framing import Answer, Framer, FramingError

SLOWEST_BYTES_PER_SECOND = 32_000
"""A server that sends more slowly for longer than the deadline is given up."""
ANSWER_BYTES = 16_000_000
"""Everything that may come between two commands, beside the payload of the first."""
ANSWERS = 200_000
"""Likewise: another program may flag every message of a large mailbox meanwhile."""
LITERAL_BYTES = 1_000_000
"""The longest literal of a command that fetches no message: a header field, a name."""


class Request(aioimaplib.Command):  # type: ignore[misc]  # aioimaplib has no types
    """One command and what is answered to it. `payload` in bytes: what it asked for beside ANSWER_BYTES."""

    def __init__(self, name: str, tag: str, *args: str, payload: int = 0) -> None:
        """Raises ValueError for arguments that hold CR, LF or NUL."""
        super().__init__(name, tag, *args)
        self.payload = payload
        self.answers: list[Answer] = []
        self.result = ""
        self.text = ""

    def __str__(self) -> str:
        """The command line."""
        return " ".join((self.tag, self.name, *self.args))

    def __repr__(self) -> str:
        """Without arguments: they may be a secret, or what a stranger wrote."""
        return f"<{self.name} {self.tag}>"

    @property
    def title(self) -> str:
        """What a person would call it: "UID FETCH"."""
        return f"UID {self.args[0]}" if self.name == "UID" else str(self.name)

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)

    def continuation(self) -> bytes | None:
        """What to send when the server says "+"; None: nothing."""
        return None

    def finish(self, result: str, text: str) -> None:
        self.result, self.text = result, text
        self._event.set()

    def fail(self, reason: str) -> None:
        self._exception = ImapLost(reason)
        self._event.set()


class Conversation(Request):
    """A command that sends more when the server says "+"; then empty lines, which end a refused SASL login.

    A server that refuses XOAUTH2 asks first whether its error was read, and says NO when that was answered.
    """

    def __init__(self, name: str, tag: str, *args: str, parts: tuple[bytes, ...]) -> None:
        super().__init__(name, tag, *args)
        self._waiting = deque(parts)

    def continuation(self) -> bytes:
        return self._waiting.popleft() if self._waiting else b""


class Idling(Request):
    """IDLE (RFC 2177). `begun` once the server agreed, `woken` once it said something or the command ended.

    `over`: the command ended. `said`: the mailbox changed.
    """

    def __init__(self, tag: str) -> None:
        super().__init__("IDLE", tag)
        self.begun = asyncio.Event()
        self.woken = asyncio.Event()
        self.over = False
        self.said = False

    def add(self, answer: Answer) -> None:
        """Nothing is kept: what changed is looked up afterwards."""
        if keyword(answer) not in _NO_NEWS:
            self.said = True
            self.woken.set()

    def continuation(self) -> None:
        self.begun.set()

    def finish(self, result: str, text: str) -> None:
        super().finish(result, text)
        self._end()

    def fail(self, reason: str) -> None:
        super().fail(reason)
        self._end()

    def _end(self) -> None:
        self.over = True
        self.begun.set()
        self.woken.set()


class Wire(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # aioimaplib has no types
    """The connection. `peer` is how it is called in errors. `lost` is done when nothing of it is left.

    `news`: the mailbox has grown since somebody looked. `dismissed`: the server said BYE.
    """

    pending_sync_command: Request | None
    pending_async_commands: dict[str, Request]
    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: str, silence_seconds: float) -> None:
        super().__init__(loop)
        self.peer = peer
        self.lost = asyncio.Event()
        self.greeted = asyncio.Event()
        self.greeting: Answer | None = None
        self.broken: str | None = None
        self.news = False
        self.exists = 0
        self._silence_seconds = silence_seconds
        self._framer = Framer()
        self.dismissed = False
        self._goodbye = ""
        self._connected = False
        self._deadline: asyncio.Timeout | None = None
        self._began = 0.0
        self._heard_bytes = 0
        self._received_bytes, self._most_bytes = 0, ANSWER_BYTES
        self._answers = 0

    @property
    def alive(self) -> bool:
        return self.broken is None

    @property
    def waiting(self) -> Request | None:
        """The command under way."""
        return self.pending_sync_command or next(iter(self.pending_async_commands.values()), None)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """TimeoutError when the server is silent for as long as the setting says, or slower than allowed."""
        self._began, self._heard_bytes = self.loop.time(), 0
        try:
            async with asyncio.timeout(self._silence_seconds) as self._deadline:
                yield
        finally:
            self._deadline = None

    def begin(self, request: Request) -> None:
        """Sends a command that nobody waits for yet. The library's IDLE leaves tasks and a timer behind."""
        self.pending_sync_command = request
        self.send(str(request))

    def abort(self, reason: str) -> None:
        """The end of this connection. The first reason is the one that counts."""
        if not self.alive:
            return
        self.broken = reason
        self.state = aioimaplib.LOGOUT
        self.greeted.set()
        request = self.waiting
        self.pending_sync_command = None
        self.pending_async_commands.clear()
        if request is not None:
            request.fail(reason)
        if self._connected:
            self.transport.abort()
        else:
            self.lost.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connected = True
        if self.broken is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        because = f": {self._goodbye}" if self._goodbye else f" ({exc})" if exc else ""
        self.abort(f"{self.peer} closed the connection{because}")
        self.lost.set()

    def data_received(self, d: bytes) -> None:
        """Replaces the library's, which recurses for each line and keeps what an endless line sends."""
        self._postpone(len(d))
        try:
            self._received_bytes += len(d)
            if self._received_bytes > self._most_bytes:
                raise FramingError("sends far more than was asked for")
            for answer in self._framer.feed(d) if self.alive else ():
                self._take(answer)
        except (FramingError, ValueError) as error:
            self.abort(f"{self.peer} {error if isinstance(error, FramingError) else 'sends garbage'}")

    def send(self, line: str, scrub: str | None = None) -> None:
        """Replaces the library's, which logs what it sends."""
        payload = self.waiting.payload if self.waiting else 0
        self._framer.longest_literal = max(LITERAL_BYTES, payload)
        self._received_bytes, self._most_bytes = 0, ANSWER_BYTES + payload
        self._answers = 0
        self.transport.write(f"{line}\r\n".encode())

    def _postpone(self, received: int) -> None:
        """A server that sends earns time: a second for each SLOWEST_BYTES_PER_SECOND, until it is silent."""
        self._heard_bytes += received
        deadline = self._deadline
        if deadline is None or deadline.expired():
            return
        earned = self._began + self._silence_seconds + self._heard_bytes / SLOWEST_BYTES_PER_SECOND
        deadline.reschedule(min(earned, self.loop.time() + self._silence_seconds))

    def _take(self, answer: Answer) -> None:
        line = answer[0]
        if not self.alive:
            return
        self._answers += 1
        if self._answers > ANSWERS:
            raise FramingError("sends answers without an end")
        if self.greeting is None:
            self._take_greeting(answer)
        elif line.startswith(b"* "):
            self._take_untagged(answer)
        elif line.startswith(b"+"):
            self._take_continuation()
        else:
            self._take_tagged(line)

    def _take_greeting(self, answer: Answer) -> None:
        match keyword(answer):
            case "OK":
                self.state = aioimaplib.NONAUTH
            case "PREAUTH":
                self.state = aioimaplib.AUTH
            case "BYE":
                raise FramingError(f"wants no connection now: {printable(answer[0][6:])}")
            case _:
                raise FramingError("is no IMAP server: it greets with something else")
        self.greeting = answer
        self.greeted.set()

    def _take_untagged(self, answer: Answer) -> None:
        match keyword(answer):
            case "EXISTS":
                now = count(answer)
                self.news, self.exists = self.news or now > self.exists, now
            case "EXPUNGE":
                self.exists -= 1
            case "BYE":
                self._take_goodbye(printable(answer[0][6:]))
        request = self.waiting
        if request is not None:
            request.add(answer)

    def _take_goodbye(self, text: str) -> None:
        self.dismissed, self._goodbye = True, text
        request = self.waiting
        if request is None or request.name != "LOGOUT":
            self.abort(f"{self.peer} ends the connection: {text}")

    def _take_continuation(self) -> None:
        request = self.waiting
        more = request.continuation() if request is not None else None
        if more is not None:
            self.transport.write(more + b"\r\n")

    def _take_tagged(self, line: bytes) -> None:
        """Replaces the library's, whose errors hold the whole command, password included."""
        request = self.waiting
        tag, _, rest = line.partition(b" ")
        result, _, text = rest.partition(b" ")
        if request is None or tag.decode("latin-1") != request.tag or result.upper() not in _RESULTS:
            raise FramingError("sends what is no answer")
        self.pending_sync_command = None
        self.pending_async_commands.clear()
        request.finish(result.decode("ascii").upper(), printable(text))


def printable(text: bytes) -> str:
    """A server's words as a part of a sentence: one line, bounded, without a full stop."""
    line = text[:300].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in line).strip().removesuffix(".")


_RESULTS = frozenset({b"OK", b"NO", b"BAD"})
_NO_NEWS = frozenset({"OK", "NO", "BAD", "BYE", ""})
