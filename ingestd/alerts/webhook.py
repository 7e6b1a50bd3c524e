"""Posts a message to a webhook: JSON with the `text` that Slack, Mattermost and Teams show, and an object
`ingestd` with the same for programs.

The URL is a secret: it stands in no text, goes to its own host alone, and no redirect is followed.
"""

import json
from collections.abc import Callable
from datetime import timedelta

from yarl import URL

from ingestd.alerts.digest import Message
from ingestd.alerts.wording import as_chat, as_fields
from ingestd.domain.document import Instant
from ingestd.domain.errors import ConfigurationError
from ingestd.http.session import Answer, AnswerLost, NotSent, Request, Session
from ingestd.http.tokens import SecretUnavailable
from ingestd.interfaces import SourceUnavailable, Undeliverable

SILENCE = timedelta(seconds=20)
_MAY_PASS = frozenset({408, 425, 429})


class WebhookWay:
    """`url` is called for each message, so that a new one in its file is used at once.

    `quotable`: no mailbox is watched, so that nothing that is told quotes mail.
    """

    def __init__(
        self, url: Callable[[], str], *, name: str, host: str, quotable: bool, silence: timedelta = SILENCE
    ) -> None:
        self._url = url
        self._host = host
        self._quotable = quotable
        self._silence = silence
        self.name = name

    async def send(self, message: Message, at: Instant) -> None:
        content = json.dumps(
            {
                "text": as_chat(message, self._host, quotable=self._quotable),
                "ingestd": as_fields(message, self._host, at, quotable=self._quotable),
            }
        ).encode()
        url = self._read()
        place = f"{url.host}:{url.port}"
        try:
            session = Session(str(url.origin()), connections=1)
        except (ConfigurationError, ValueError):
            raise Undeliverable(f"The {self.name} is no https:// URL (http:// only to loopback).") from None
        try:
            answer = await session.exchange(
                Request(
                    method="POST",
                    url=str(url),
                    headers={},
                    content=content,
                    content_type="application/json",
                    silence=self._silence,
                )
            )
        finally:
            await session.aclose()
        self._judge(answer, place)

    async def aclose(self) -> None:
        """A connection serves one message."""

    def _read(self) -> URL:
        try:
            url = URL(self._url(), encoded=True)
            _ = url.port
        except (SecretUnavailable, ValueError) as error:
            why = str(error) if isinstance(error, SecretUnavailable) else "it holds no URL"
            raise SourceUnavailable(f"The {self.name} can't be used: {why}.") from None
        if not url.host or url.user or url.password or url.fragment:
            raise Undeliverable(f"The {self.name} is no URL; write it as the chat shows it.")
        return url if url.raw_path.startswith("/") else url.with_path("/")

    def _judge(self, answer: Answer | NotSent | AnswerLost, place: str) -> None:
        match answer:
            case Answer(status=status) if 200 <= status < 300:
                return
            case Answer(status=status) if 300 <= status < 400:
                raise Undeliverable(
                    f"The webhook at {place} leads elsewhere ({status}), and is not followed; write the URL "
                    "it leads to."
                )
            case Answer(status=status) if status < 500 and status not in _MAY_PASS:
                raise Undeliverable(
                    f"The webhook at {place} refuses the message ({status}); check that it still exists."
                )
            case Answer(status=status):
                raise SourceUnavailable(f"The webhook at {place} does not take it now ({status}).")
            case NotSent(reason=reason) | AnswerLost(reason=reason):
                raise SourceUnavailable(f"The webhook at {place}: {reason}")
