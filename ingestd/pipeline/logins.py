"""Logins are used from time to time although nothing is uploaded: unused they would lapse.

A request token lives for a day, a refresh token for months from its last use (Concur, Authentication v2).
"""

import asyncio
from datetime import timedelta

from ingestd.pipeline.flow import Flow

EVERY = timedelta(hours=12)


async def stay_logged_in(flow: Flow) -> None:
    """Until cancelled; at once, and then every now and again."""
    while True:
        for destination in flow.destinations.values():
            for trouble in await destination.stay_logged_in():
                flow.observer.note(
                    "login.unavailable", level="warning", target=destination.name, reason=trouble
                )
        await asyncio.sleep(EVERY.total_seconds())
