"""SAP Concur: Image v1.0, the API that attaches an image to an existing entry, invoice or report."""

from ingestd.destinations.concur.image_v1 import ConcurImageV1

__all__ = ["ConcurImageV1"]
