"""A job module whose decoder needs a system call that the list does not allow: libc was upgraded."""

import socket
from collections.abc import Sequence


def warm_up() -> None:
    for end in socket.socketpair():
        end.close()


def job(request: dict[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    return {}
