"""From vectors to feeds: which tracks a mood feed shows, in which order, and the pages that readers get.

Owns the catalogue, ranking, snapshots, cursors and the feed generator's XRPC methods. Defends two invariants: every
entry that is served is a post whose track its artist still shows, and while a snapshot lives a reader who pages
through it meets no entry twice and misses none that is alive.
"""

from feedgen.catalogue import load_catalogue
from feedgen.did_document import build_did_document
from feedgen.live import LiveFeeds
from feedgen.methods import FeedMethods
from feedgen.publish import build_generator_record, feed_uri
from feedgen.rules import Rules
from feedgen.standing import FeedStatus

__all__ = [
    "FeedMethods",
    "FeedStatus",
    "LiveFeeds",
    "Rules",
    "build_did_document",
    "build_generator_record",
    "feed_uri",
    "load_catalogue",
]
