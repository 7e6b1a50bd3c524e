"""What a login begins with, and what it goes on with: the refresh token that is kept, unless a newly
configured one, or a new company request token (SAP Concur), takes its place. Decides; asks nobody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.http.oauth_endpoint import Granted
from ingestd.http.oauth_refusals import OAuthRefused
from ingestd.http.oauth_store import Kept, fingerprint
from ingestd.http.tokens import SecretReader, SecretUnavailable, read_secret
from ingestd.settings import OAuthSettings, Secret

REQUEST_TOKEN_LIFETIME = timedelta(hours=24)
"""SAP Concur: of a company request token; within it, it may be used several times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The form that gets an access token, and what of the login it is asked with.

    `refresh_token` None: it is asked with a company request token.
    """

    form: Mapping[str, str] = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    seed: str | None = None
    expires_at: Instant | None = None
    home: str | None = None


def company_form(company: str, request_token: str, scope: str) -> Mapping[str, str]:
    """SAP Concur, Authentication v2: the password grant as company tokens use it."""
    return {
        "grant_type": "password",
        "username": company,
        "password": request_token,
        "credtype": "authtoken",
        "scope": scope,
    }


class Seeds:
    """Of one login. `name` as for OAuthTokens."""

    def __init__(self, settings: OAuthSettings, name: str) -> None:
        self._settings = settings
        self._command = f"ingestd login {name}" if settings.concur is None else settings.concur.command
        self._configured = settings.refresh_token
        if settings.grant == "company" and settings.concur is not None:
            self._configured = settings.concur.request_token
        given = (settings.client_secret, self._configured)
        self._readers = [SecretReader(secret) for secret in given if secret is not None]

    @property
    def no_refresh_token(self) -> str:
        """What to say when a person logged in and the server gave none."""
        ask = "have refresh allowed for the client"
        if self._settings.concur is None:
            ask = "ask for one: Microsoft wants offline_access in scope"
        return f"the server gave no refresh token, so the login would end within the hour; {ask}"

    def question(self, kept: Kept | None) -> Question:
        """The kept token is used, unless the configured one was changed since.

        Raises OAuthRefused when there is none, SecretUnavailable when the only one can't be read.
        """
        seed = self._seed()
        if kept is not None and self._is_ours(kept) and (seed is None or kept.seed == fingerprint(seed)):
            return Question(
                form=self._refresh_form(kept.refresh_token),
                refresh_token=kept.refresh_token,
                seed=kept.seed,
                expires_at=kept.expires_at,
                home=kept.home,
            )
        if seed is not None:
            return self._first(seed)
        if kept is not None:
            raise OAuthRefused(
                f"the login that is kept belongs to another client_id or token_url; run: {self._command}"
            )
        if self._configured is not None:
            read_secret(self._configured)
        raise OAuthRefused(f"nobody has logged in yet; run: {self._command}")

    def following(self, question: Question, granted: Granted) -> Kept | None:
        """What is to be kept after this answer; None: there is no refresh token."""
        refresh_token = granted.refresh_token or question.refresh_token
        if refresh_token is None:
            return None
        stays = refresh_token == question.refresh_token
        return self.kept(
            refresh_token, granted, seed=question.seed, expires_at=question.expires_at if stays else None
        )

    def kept(
        self, refresh_token: str, granted: Granted, *, seed: str | None, expires_at: Instant | None = None
    ) -> Kept:
        """`expires_at`: for an answer that tells none."""
        return Kept(
            refresh_token=refresh_token,
            client_id=self._settings.client_id,
            token_url=self._settings.token_url,
            seed=seed,
            expires_at=granted.refresh_expires_at or expires_at,
            home=granted.home,
        )

    def expires_at(self, kept: Kept | None) -> Instant | None:
        """Raises what `question` does."""
        if self._settings.grant == "client_credentials":
            return None
        question = self.question(kept)
        if question.refresh_token is not None:
            return question.expires_at
        return _end_of_request_token(self._configured)

    def fingerprint(self) -> str | None:
        """Of the configured token."""
        seed = self._seed()
        return None if seed is None else fingerprint(seed)

    def secrets(self) -> Iterable[str]:
        """Those that are configured and can be read."""
        for read in self._readers:
            try:
                yield read()
            except SecretUnavailable:
                continue

    def _seed(self) -> str | None:
        """The configured token; it may be removed once it was used."""
        if self._configured is None:
            return None
        try:
            return read_secret(self._configured)
        except SecretUnavailable:
            return None

    def _first(self, seed: str) -> Question:
        if self._settings.grant != "company":
            return Question(form=self._refresh_form(seed), refresh_token=seed, seed=fingerprint(seed))
        concur = self._settings.concur
        if concur is None or concur.company is None:
            raise OAuthRefused(f"company_uuid is missing for the request token; or run: {self._command}")
        form = company_form(concur.company, seed, self._settings.scope)
        return Question(form=form, seed=fingerprint(seed))

    def _refresh_form(self, refresh_token: str) -> Mapping[str, str]:
        return {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "scope": self._settings.scope,
        }

    def _is_ours(self, kept: Kept) -> bool:
        return (kept.client_id, kept.token_url) == (self._settings.client_id, self._settings.token_url)


def _end_of_request_token(secret: Secret | None) -> Instant | None:
    """At the latest: when it was issued is not known, when it was put into its file is."""
    if secret is None or secret.file is None:
        return None
    try:
        put_at_ns = secret.file.stat().st_mtime_ns
    except OSError:
        return None
    return Instant(put_at_ns // 1000 + int(REQUEST_TOKEN_LIFETIME.total_seconds()) * 1_000_000)
