"""What can't work in the logins of targets: addresses that would show a token, schemes, shared variables."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ingestd.configfile.mail_contradictions import url_problem
from ingestd.settings import ConcurImageV1Settings, OAuthSettings, Secret, Settings


def login_problems(key: str, target: ConcurImageV1Settings) -> Iterator[str]:
    """Each problem as: key path: what is wrong and what to do. `key`: that of the target."""
    own = [(f"{key}.oauth", target.oauth)]
    others = [(f"{key}.accounts.{name}.oauth", login) for name, login in target.accounts.items()]
    logins = [(place, login) for place, login in own + others if isinstance(login, OAuthSettings)]
    if logins and target.authorization == "OAuth":
        yield (
            f'{key}.authorization: "OAuth" is for legacy tokens, and those of {logins[0][0]} are others; '
            "remove the key"
        )
    for place, login in logins:
        yield from _address_problems(place, login, target.url)


def shared_variables(settings: Settings) -> Iterator[str]:
    """Two secrets can't come from one environment variable: those of a-b and of a_b have the same name."""
    targets = Counter(_variables(secret for t in settings.targets.values() for secret in _secrets(t)))
    mail = set(_variables(secret for m in settings.mailboxes for secret in _parts(m.oauth)))
    for variable, uses in targets.items():
        if uses > 1 or variable in mail:
            yield f"targets: several secrets would be read from ${variable}; write a file for each"


def _address_problems(key: str, login: OAuthSettings, api_url: str) -> Iterator[str]:
    urls = {
        "token_url": login.token_url,
        "authorize_url": login.authorize_url,
        "redirect_url": login.concur.redirect_url if login.concur else None,
    }
    for name, url in urls.items():
        # What lies below the url of the target has its mistakes told there.
        written = url is not None and not url.startswith(f"{api_url}/")
        if url is not None and written and (problem := url_problem(url)) is not None:
            yield f"{key}.{name}: {problem}"


def _variables(secrets: Iterable[Secret]) -> list[str]:
    return [secret.environment for secret in secrets if secret.environment is not None]


def _secrets(target: ConcurImageV1Settings) -> Iterator[Secret]:
    """Those of logins by OAuth; the client's own is shared with accounts on purpose, and comes once."""
    yield from _parts(target.oauth)
    shared = None if target.oauth is None else target.oauth.client_secret
    for login in target.accounts.values():
        if isinstance(login, OAuthSettings):
            yield from (secret for secret in _parts(login) if secret is not shared)


def _parts(login: OAuthSettings | None) -> Iterator[Secret]:
    if login is None:
        return
    for secret in (
        login.client_secret,
        login.refresh_token,
        login.concur.request_token if login.concur else None,
    ):
        if secret is not None:
            yield secret
