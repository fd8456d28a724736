"""From the network to a job, and from a job to a file of audio.

Owns the streams (relay, Jetstream), what their frames mean, the proof of commits, the mapping of records and posts,
identities, and every call to an address that a stranger chose.

Defends: a cursor never passes work that is not committed; a record that is not proven, not ours to fetch or not public
is never fetched; nothing that a stranger sends makes us raise an untyped error, hold unbounded memory, keep audio on
disk, or connect to an address that is not global unicast.
"""

from firehose.apply import Applier, RecordReader
from firehose.blob import AudioFetcher
from firehose.download import FetchLimits
from firehose.events import (
    AccountEvent,
    CommitEvent,
    DoubtEvent,
    Event,
    GapEvent,
    IdentityEvent,
    Interest,
    Operation,
    RecordEvent,
    SeenEvent,
    SyncEvent,
)
from firehose.following import Following
from firehose.guard import Guard
from firehose.handles import Handles
from firehose.identity import DidDirectory
from firehose.ingest import Ingest, IngestLimits
from firehose.jetstream import Jetstream
from firehose.links import LinkRules
from firehose.manners import Manners, Visited
from firehose.mapping import CollectionMap, load_mapping, page_hosts
from firehose.proof import RecordProver
from firehose.relay import Relay
from firehose.repostatus import RepoStatus
from firehose.resync import Resync
from firehose.safehttp import GuardedHttp
from firehose.source import Health, HostHealth, Source
from firehose.tap import Tap
from firehose.visibility import PlyrVisibility

__all__ = [
    "AccountEvent",
    "Applier",
    "AudioFetcher",
    "CollectionMap",
    "CommitEvent",
    "DidDirectory",
    "DoubtEvent",
    "Event",
    "FetchLimits",
    "Following",
    "GapEvent",
    "Guard",
    "GuardedHttp",
    "Handles",
    "Health",
    "HostHealth",
    "IdentityEvent",
    "Ingest",
    "IngestLimits",
    "Interest",
    "Jetstream",
    "LinkRules",
    "Manners",
    "Operation",
    "PlyrVisibility",
    "RecordEvent",
    "RecordProver",
    "RecordReader",
    "Relay",
    "RepoStatus",
    "Resync",
    "SeenEvent",
    "Source",
    "SyncEvent",
    "Tap",
    "Visited",
    "load_mapping",
    "page_hosts",
]
