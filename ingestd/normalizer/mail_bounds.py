"""How much of a message is opened at all; beyond a bound it is refused as a whole."""

from ingestd.settings import MEGABYTE

MOST_MESSAGE_BYTES = 150 * MEGABYTE
"""What a limited process bears, not what is wanted: that is a mailbox's own `max_size`."""
MOST_LEAVES = 200
"""As many as an archive may have members."""
MOST_LEAF_BYTES = 100 * MEGABYTE
