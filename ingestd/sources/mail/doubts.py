"""Messages of which can't be said now whether they are genuine: asked about again with growing pauses, and
not fetched again while their bytes lie in the spool. In memory: after a restart they are simply new.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from ingestd.domain.mail import MessagePlace
from ingestd.sources.mail.fetching import Fetched
from ingestd.sources.mail.imap import Outline

FIRST_S = 30.0
LONGEST_S = 300.0
"""DNS that came back is noticed within this."""

MOST_REMEMBERED = 1000
"""The one asked about longest ago is forgotten first, and fetched again."""


@dataclass(slots=True)
class _Doubt:
    fetched: Fetched
    times: int = 0


class Doubts:
    """Of one mailbox, by place."""

    def __init__(self) -> None:
        self._doubts: OrderedDict[MessagePlace, _Doubt] = OrderedDict()

    def fetched(self, place: MessagePlace, outline: Outline) -> Fetched | None:
        """What was fetched before; None: nothing, or it is not in the spool any more, or another message."""
        doubt = self._doubts.get(place)
        if doubt is None:
            return None
        before = doubt.fetched.outline
        is_same = (before.size, before.sender) == (outline.size, outline.sender)
        if not is_same or not doubt.fetched.document.path.exists():
            del self._doubts[place]
            return None
        return replace(doubt.fetched, outline=outline)

    def again_s(self, fetched: Fetched) -> float:
        """Seconds until it should be asked again."""
        doubt = self._doubts.setdefault(fetched.place, _Doubt(fetched))
        self._doubts.move_to_end(fetched.place)
        if len(self._doubts) > MOST_REMEMBERED:
            self._doubts.popitem(last=False)
        doubt.times += 1
        return min(LONGEST_S, FIRST_S * 2.0 ** min(doubt.times - 1, 20))

    def settled(self, place: MessagePlace) -> None:
        self._doubts.pop(place, None)
