"""From the network to a job, and from a job to a file of audio.

Owns the streams (relay, Jetstream), what their frames mean, the proof of commits, the mapping of records and posts,
identities, and every call to an address that a stranger chose.

Defends: a cursor never passes work that is not committed; a record that is not proven, not ours to fetch or not public
is never fetched; nothing that a stranger sends makes us raise an untyped error, hold unbounded memory, keep audio on
disk, or connect to an address that is not global unicast.
"""

from firehose.blob import AudioFetcher, FetchLimits
from firehose.events import (
    AccountEvent,
    Event,
    GapEvent,
    IdentityEvent,
    Interest,
    Operation,
    RecordEvent,
    SeenEvent,
)
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.ingest import Ingest, IngestLimits, interest_in
from firehose.jetstream import Jetstream
from firehose.links import LinkRules
from firehose.records import CollectionMap, load_mapping, page_hosts
from firehose.relay import Relay
from firehose.safehttp import GuardedHttp
from firehose.source import Health, Source
from firehose.visibility import PlyrVisibility

__all__ = [
    "AccountEvent",
    "AudioFetcher",
    "CollectionMap",
    "DidDirectory",
    "Event",
    "FetchLimits",
    "GapEvent",
    "Guard",
    "GuardedHttp",
    "Health",
    "IdentityEvent",
    "Ingest",
    "IngestLimits",
    "Interest",
    "Jetstream",
    "LinkRules",
    "Operation",
    "PlyrVisibility",
    "RecordEvent",
    "Relay",
    "SeenEvent",
    "Source",
    "interest_in",
    "load_mapping",
    "page_hosts",
]
