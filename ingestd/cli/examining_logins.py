"""Looks at how the targets are logged in to, without asking anybody: what is missing, and what ends when."""

from collections.abc import Iterator

from ingestd.cli.finding import Finding, Weight
from ingestd.domain.document import Instant
from ingestd.http.expiry import expiry_sentence, threshold_crossed
from ingestd.http.target_login import TargetLogin, target_logins
from ingestd.settings import OAuthSettings, Settings


def examine_logins(settings: Settings, now: Instant) -> Iterator[tuple[str, Finding]]:
    """One finding for each login by OAuth and each token whose end is known, with its key path.

    Static tokens that can't be read are told by `check_secrets`.
    """
    for target in settings.targets.values():
        for account, login in target_logins(target).items():
            how = target.oauth if account is None else target.accounts[account]
            key = f"targets.{target.name}" + (f".accounts.{account}" if account else "")
            if isinstance(how, OAuthSettings):
                yield f"{key}.oauth", _of_login(login, how, now)
            elif (ends := login.expires_at) is not None:
                yield key, _of_end(login, ends, now)


def _of_login(login: TargetLogin, how: OAuthSettings, now: Instant) -> Finding:
    lacking, ends = login.check(), login.expires_at
    if lacking is not None:
        return _found(login, lacking, "bad")
    if how.grant == "client_credentials":
        return _found(login, f"{login.title} needs no person")
    if ends is None:
        return _found(login, f"{login.title} is there; when it ends is not told")
    return _of_end(login, ends, now)


def _of_end(login: TargetLogin, ends: Instant, now: Instant) -> Finding:
    says, days = expiry_sentence(login.title, ends, now), threshold_crossed(ends, now)
    if days is None:
        return _found(login, says)
    return _found(login, says, "bad" if days == 0 else "warning", login.fix)


def _found(login: TargetLogin, says: str, weight: Weight = "good", fix: str = "") -> Finding:
    what = f"login of {login.account}" if login.account else "login"
    return Finding(subject=f"target {login.target}", what=what, weight=weight, says=says, fix=fix)
