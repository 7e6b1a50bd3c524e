"""The mailbox on a bad day: tokens that expire, servers that say goodbye, lines that break in a message.

After each of them every message is uploaded once and filed once, and the daemon has come back by itself.
"""

import base64
import itertools
import json
import re
import select
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from tests.acceptance.letterbox import Keeper, Letterbox, letter, mailbox_table, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import Dovecot
from tests.mail.oauth_server import CLIENT, CLIENT_SECRET, OAuthServer, oauth_server_aside, secret_in

__all__ = ["dovecot", "user"]

pytestmark = pytest.mark.timeout(400)

BACK_SECONDS = 150.0
"""For a busy machine; a quiet one needs a few."""
TOLD_SECONDS = 1
"""The life of an access token, as the client is told."""


@pytest.fixture
def smtp() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Dovecot]:
    """One that may be ended."""
    directory = tmp_path / "dovecot"
    directory.mkdir()
    with Dovecot(directory) as server:
        yield server


# --- the line to the server -----------------------------------------------------------------------------


class Line(socketserver.ThreadingTCPServer):
    """Between ingestd and the plain port of a Dovecot: it listens, and may break, once.

    `cut`: the line breaks when so many bytes of a message came, counted from behind the head of the literal
    (RFC 9051 section 4.3); below zero from its end. `rudely`: by a reset. `said` and `answered` are all that
    went up and down, `lost` the connections that the server did not take. `hear` says what the server gets
    in the place of what the client said.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        dovecot: Dovecot,
        *,
        cut: int | None = None,
        rudely: bool = False,
        hear: Callable[[bytes], bytes] = lambda said: said,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.port: int = self.server_address[1]
        self.to_port = dovecot.plain_port
        self.said, self.answered = bytearray(), bytearray()
        self.was_cut = False
        self.lost = 0
        self.cut, self.rudely, self.hear = cut, rudely, hear

    @property
    def fetched(self) -> int:
        """How often a whole message was asked for."""
        return self.said.count(b"BODY.PEEK[])")

    @property
    def idles(self) -> bool:
        """It was begun and not ended."""
        return self.said.rstrip().endswith(b" IDLE")

    @property
    def refused(self) -> int:
        return self.answered.count(b" NO [AUTHENTICATIONFAILED]")


class _Talk(socketserver.BaseRequestHandler):
    """One connection."""

    server: Line
    request: socket.socket

    def handle(self) -> None:
        self._came = bytearray()
        try:
            server = socket.create_connection(("127.0.0.1", self.server.to_port))
        except OSError:
            self.server.lost += 1
            return
        with server, suppress(OSError):
            while self._carry(server):
                pass

    def _carry(self, server: socket.socket) -> bool:
        for each in select.select([self.request, server], [], [])[0]:
            data = each.recv(65536)
            if not data:
                return False
            if each is self.request:
                self.server.said += data
                server.sendall(self.server.hear(data))
            elif not self._bring(data):
                return False
        return True

    def _bring(self, data: bytes) -> bool:
        line = self.server
        line.answered += data
        before, end = len(self._came), None
        self._came += data
        if line.cut is not None and not line.was_cut:
            end = self._end(line.cut)
        if end is None or end > len(self._came):
            self.request.sendall(data)
            return True
        line.was_cut = True
        self.request.sendall(self._came[before:end])
        if line.rudely:  # SO_LINGER with no time: close sends RST
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
        return False

    def _end(self, cut: int) -> int | None:
        head = re.search(rb"BODY\[\] \{(\d+)\}\r\n", self._came)
        if head is None:
            return None
        return head.end() + (cut if cut >= 0 else int(head[1]) + 1 + cut)


@contextmanager
def line_to(dovecot: Dovecot, **how: Any) -> Iterator[Line]:
    with Line(dovecot, **how) as line:
        serving = threading.Thread(target=line.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield line
        finally:
            line.shutdown()
            serving.join()


# --- tokens ---------------------------------------------------------------------------------------------


class Tokens:
    """An OAuth server whose access tokens a Dovecot takes, and the line where they are seen in use.

    `oauth.lifetime` is what the client is told of their life; in truth they end with `expire`, not with time:
    then the Dovecot gets one that is an hour too old in their place.
    """

    def __init__(self, oauth: OAuthServer, dovecot: Dovecot, user: str, store: Path) -> None:
        self.oauth = oauth
        self.used: list[str] = []
        """One for each login."""
        self.ahead: list[str] = []
        """Of these, those that were used before the refresh token that came with them was on the disk."""
        self._store = store
        self._expired: set[str] = set()
        self._too_old = dovecot.token(user, lifetime=timedelta(hours=-1))
        numbers = itertools.count(1)
        # No two are alike, also when they are made in the same second.
        oauth.new_access_token = lambda: dovecot.token(
            user, lifetime=timedelta(hours=1, seconds=next(numbers))
        )

    @property
    def asked(self) -> int:
        return len(self.oauth.forms)

    def kept(self) -> str | None:
        """The refresh token on the disk."""
        try:
            return str(json.loads(self._store.read_text())["refresh_token"])
        except FileNotFoundError:
            return None

    def expire(self) -> None:
        """All that were given until now."""
        self._expired.update(each["access_token"] for each in self.oauth.given)

    def hear(self, said: bytes) -> bytes:
        return re.sub(rb"(?<=AUTHENTICATE XOAUTH2 )\S+(?=\r\n)", self._login, said)

    def _login(self, coded: re.Match[bytes]) -> bytes:
        message = base64.b64decode(coded[0]).decode()
        found = re.search(r"auth=Bearer ([^\x01]+)", message)
        assert found is not None
        token = found[1]
        partner = next(each for each in self.oauth.given if each["access_token"] == token)
        if partner.get("refresh_token", self.kept()) not in {self.kept(), *self.oauth.spent}:
            self.ahead.append(token)
        self.used.append(token)
        if token not in self._expired:
            return coded[0]
        return base64.b64encode(message.replace(token, self._too_old).encode())


@pytest.fixture
def tokens(dovecot: Dovecot, user: str, place: Place) -> Iterator[Tokens]:
    with oauth_server_aside() as oauth:
        yield Tokens(oauth, dovecot, user, place.directory / "data/tokens/receipts.json")


@pytest.fixture
def line(dovecot: Dovecot, tokens: Tokens) -> Iterator[Line]:
    with line_to(dovecot, hear=tokens.hear) as line:
        yield line


def by_oauth(place: Place, oauth: OAuthServer, grant: str) -> str:
    """The table [mailboxes.oauth]; what it needs is in the file oauth-secret."""
    key = "client_secret_file" if grant == "client_credentials" else "refresh_token_file"
    secret_in(place.directory / "oauth-secret", CLIENT_SECRET if key[0] == "c" else oauth.login())
    return (
        f'[mailboxes.oauth]\ngrant = "{grant}"\nclient_id = "{CLIENT}"\nscope = "mail"\n'
        f'token_url = "{oauth.url}/token"\n{key} = "oauth-secret"\n'
    )


def test_a_session_cut_when_its_token_has_expired_costs_one_new_token_and_no_message(
    place: Place,
    sandbox: SandboxProcess,
    dovecot: Dovecot,
    user: str,
    smtp: tuple[int, Keeper],
    tokens: Tokens,
    line: Line,
) -> None:
    tokens.oauth.lifetime = TOLD_SECONDS
    oauth = by_oauth(place, tokens.oauth, "refresh_token")
    box = Letterbox(place, dovecot, user, smtp[0], plain_port=line.port, login="", mailbox=oauth)
    with place.daemon():
        wait_until(lambda: line.idles, "it idles", place.log)
        time.sleep(TOLD_SECONDS)
        tokens.expire()
        asked, used = tokens.asked, len(tokens.used)
        dovecot.kick(user)
        wait_until(lambda: line.idles and len(tokens.used) > used, "it is back", place.log)
        assert (tokens.asked - asked, len(tokens.used) - used) == (1, 1)
        box.receive(receipt(0))
        wait_until(lambda: bool(smtp[1].kept), "it is answered", place.log)
    # The next daemon goes on with what this one got.
    box.receive(receipt(1))
    place.ingestd("run", "--until-idle")
    assert line.refused == 0
    assert len(set(tokens.used)) == tokens.asked, "each token was asked for once, and used"
    assert tokens.ahead == []
    assert tokens.oauth.refresh_tokens == {tokens.kept()}
    judge(place, sandbox, box, smtp[1], 2)


def test_a_token_that_ends_before_its_time_is_replaced_at_once(
    place: Place,
    sandbox: SandboxProcess,
    dovecot: Dovecot,
    user: str,
    smtp: tuple[int, Keeper],
    tokens: Tokens,
    line: Line,
) -> None:
    oauth = by_oauth(place, tokens.oauth, "client_credentials")
    box = Letterbox(place, dovecot, user, smtp[0], plain_port=line.port, login="", mailbox=oauth)
    with place.daemon():
        wait_until(lambda: line.idles, "it idles", place.log)
        assert (tokens.asked, line.refused) == (1, 0)
        tokens.expire()
        dovecot.kick(user)
        box.receive(receipt(0))
        wait_until(lambda: bool(smtp[1].kept), "it is answered", place.log, BACK_SECONDS)
    assert (tokens.asked, line.refused) == (2, 1)
    assert "refuses the OAuth token" not in place.log(), "nobody was told, and nothing paused"
    judge(place, sandbox, box, smtp[1], 1)


def test_a_revoked_login_is_told_and_used_again_when_it_is_good_or_another_one_is_put_there(
    place: Place,
    sandbox: SandboxProcess,
    dovecot: Dovecot,
    user: str,
    smtp: tuple[int, Keeper],
    tokens: Tokens,
    line: Line,
) -> None:
    tokens.oauth.lifetime = TOLD_SECONDS
    oauth = by_oauth(place, tokens.oauth, "refresh_token")
    box = Letterbox(place, dovecot, user, smtp[0], plain_port=line.port, login="", mailbox=oauth)

    def revoked(number: int) -> None:
        """And the session cut, when its access token has expired; then mail comes."""
        tokens.oauth.refresh_tokens.clear()
        time.sleep(TOLD_SECONDS)
        dovecot.kick(user)
        box.receive(receipt(number))

    def answered(number: int) -> None:
        wait_until(lambda: len(smtp[1].kept) == number, "it is answered", place.log, BACK_SECONDS)

    with status_socket(place) as status, place.daemon(NOTIFY_SOCKET=status.getsockname()):
        wait_until(lambda: line.idles, "it idles", place.log)
        revoked(0)
        told = ""
        while "invalid_grant" not in told:
            told = status.recv(65536).decode()
        assert "the login is not good any more" in told
        assert "ingestd login" in told
        assert (len(box.filed("Uploaded")), box.inbox()[0].flags) == (0, frozenset())
        tokens.oauth.refresh_tokens.add(tokens.kept() or "")
        answered(1)

        revoked(1)
        asked = tokens.asked
        wait_until(lambda: tokens.asked > asked, "it is refused", place.log)
        secret_in(place.directory / "oauth-secret", tokens.oauth.login())
        answered(2)
    assert not [each for each in tokens.oauth.secrets() if each in place.log()]
    judge(place, sandbox, box, smtp[1], 2)


@contextmanager
def status_socket(place: Place) -> Iterator[socket.socket]:
    """What systemctl status would show comes here (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as status:
        status.bind(str(place.directory / "status"))
        status.settimeout(BACK_SECONDS)
        yield status


# --- goodbyes -------------------------------------------------------------------------------------------


def test_a_server_that_says_goodbye_while_the_mailbox_idles_is_asked_again_soon(
    place: Place, sandbox: SandboxProcess, mortal: Dovecot, smtp: tuple[int, Keeper]
) -> None:
    def kicked(raw: bytes) -> None:
        mortal.kick("ann")
        box.receive(raw)

    def shut_down(raw: bytes) -> None:
        mortal.shut_down()
        mortal.fill([raw], "ann")
        wait_until(lambda: line.lost > 0, "it tries again", place.log)
        mortal.start()

    with line_to(mortal) as line:
        # Nothing but the goodbye tells in time that the connection is lost.
        box = Letterbox(place, mortal, "ann", smtp[0], plain_port=line.port, poll="5m")
        with place.daemon():
            for number, farewell in enumerate([kicked, shut_down]):
                wait_until(lambda: line.idles, "it idles", place.log)
                del line.answered[:]
                farewell(receipt(number))
                wait_until(lambda: b"* BYE " in line.answered, "it hears the goodbye", place.log)
                wait_until(lambda: len(smtp[1].kept) > number, "it is answered", place.log, BACK_SECONDS)  # noqa: B023 - asked at once
            assert place.log().rfind("source.recovered") > place.log().rfind("source.unavailable") > 0
            assert "ends the connection" not in place.log(), "a goodbye alone is no trouble"
    judge(place, sandbox, box, smtp[1], 2)


# --- a line that breaks in a message --------------------------------------------------------------------

CUTS = (0, 1, 2, 700, 1_448, 4_096, 16_384, 30_000, -2, -1)
"""-1 is the end of the literal: all of the message came, the answer did not end."""


def test_a_line_that_breaks_in_a_message_costs_nothing_wherever_it_breaks(
    place: Place, sandbox: SandboxProcess, dovecot: Dovecot, user: str, smtp: tuple[int, Keeper]
) -> None:
    with ExitStack() as stack:
        lines = [
            stack.enter_context(line_to(dovecot, cut=cut, rudely=number % 2 == 1))
            for number, cut in enumerate(CUTS)
        ]
        users = [f"{user}-{number}" for number in range(len(CUTS))]
        box = Letterbox(place, dovecot, users[0], smtp[0], plain_port=lines[0].port)
        more = zip(users[1:], lines[1:], strict=True)
        tables = [mailbox_table(each, dovecot, each, plain_port=line.port) for each, line in more]
        place.config.write_text(place.config.read_text() + "".join(tables))
        for number, each in enumerate(users):
            dovecot.deliver(receipt(number), each)
        with place.daemon():
            wait_until(lambda: len(smtp[1].kept) == len(CUTS), "all are answered", place.log, BACK_SECONDS)
    assert [line.was_cut for line in lines] == [True] * len(CUTS)
    assert [line.fetched for line in lines] == [2] * len(CUTS), "the broken one again, and no more"
    judge(place, sandbox, box, smtp[1], len(CUTS), users)


# --- what is demanded of all ----------------------------------------------------------------------------


def receipt(number: int) -> bytes:
    """Mail with a receipt of about 30 kB."""
    return letter((f"r{number}.png", samples.large_png(24_000, number)), subject=f"receipt {number}")


def judge(
    place: Place,
    sandbox: SandboxProcess,
    box: Letterbox,
    keeper: Keeper,
    sent: int,
    users: list[str] | None = None,
) -> None:
    """Each receipt is uploaded once, each message filed once and answered once, and the books are closed."""
    stored = Counter(sandbox.content(image) for image in sandbox.images())
    assert stored == Counter(samples.large_png(24_000, number) for number in range(sent))
    assert Counter(each["state"] for each in place.receipts()) == {"uploaded": sent}
    filed = 0
    for each in users or [box.user]:
        assert box.dovecot.messages(each) == []
        filed += len(box.dovecot.messages(each, "Ingestd/Uploaded"))
    assert filed == sent
    answered = Counter(str(message["In-Reply-To"]) for _, _, message in keeper.kept)
    assert (len(answered), max(answered.values())) == (sent, 1)
    assert place.balance()["closed"]
