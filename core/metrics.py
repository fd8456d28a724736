"""Prometheus metrics in a registry of our own. Label values are enums, never a DID or a URI."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Everything that Earmark counts. One object a process, built by the composition root."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.events = Counter(
            "earmark_events", "Events of interest read from the network", ["source", "kind"], registry=r
        )
        self.source_connected = Gauge(
            "earmark_source_connected", "1 while the source is connected", ["source"], registry=r
        )
        self.source_paused = Gauge("earmark_source_paused", "1 while reading waits for jobs", ["source"], registry=r)
        self.source_blind = Gauge(
            "earmark_source_blind",
            "1 while the upstream tells of others but not of our collections",
            ["source"],
            registry=r,
        )
        self.source_lag_seconds = Gauge(
            "earmark_source_lag_seconds", "How far behind: age of the newest event when it came", ["source"], registry=r
        )
        self.source_quiet_seconds = Gauge(
            "earmark_source_quiet_seconds", "Since the last record of interest, or the start", ["source"], registry=r
        )
        self.source_frames_per_second = Gauge(
            "earmark_source_frames_per_second", "Frames read, mean of a minute", ["source"], registry=r
        )
        self.source_gaps = Gauge(
            "earmark_source_gaps", "Times that events were missed, since the start", ["source"], registry=r
        )
        self.hosts = Gauge(
            "earmark_hosts", "Hosts of accounts: known, and resting after failures", ["state"], registry=r
        )
        self.repositories = Gauge("earmark_repositories", "Followed repositories", ["state"], registry=r)
        self.backfill = Gauge("earmark_backfill", "Repositories of the latest backfill", ["state"], registry=r)
        self.trouble = Gauge("earmark_trouble", "1 while this is wrong: alert on it", ["trouble"], registry=r)
        self.jobs = Counter("earmark_jobs", "Jobs ended, by outcome", ["outcome", "reason"], registry=r)
        self.jobs_waiting = Gauge("earmark_jobs_waiting", "Jobs by state", ["state"], registry=r)
        self.job_seconds = Histogram(
            "earmark_job_seconds",
            "From claim to commit",
            buckets=(0.5, 1, 2, 5, 10, 20, 60, 180),
            registry=r,
        )
        self.label_seq = Gauge("earmark_label_seq", "Newest sequence number of the label stream", registry=r)
        self.subscribers = Gauge("earmark_label_subscribers", "Open label subscriptions", registry=r)
        self.subscribers_behind = Gauge(
            "earmark_label_subscribers_behind", "Of those, more than 500 labels behind", registry=r
        )
        self.subscriber_lag = Gauge("earmark_label_subscriber_lag", "Labels that the last of them lacks", registry=r)
        self.slow_subscribers = Counter("earmark_label_subscribers_slow", "Cut off as ConsumerTooSlow", registry=r)
        self.requests = Counter("earmark_requests", "XRPC requests", ["method", "status"], registry=r)
        self.reports = Counter(
            "earmark_reports",
            "Reports taken, refused (by the error's name), or with a token without jti",
            ["outcome"],
            registry=r,
        )
        self.anonymous = Counter("earmark_feed_tokens", "Feed requests by token", ["token"], registry=r)
        self.interactions = Counter(
            "earmark_feed_interactions", "What readers did with posts in feeds", ["feed", "event"], registry=r
        )
        self.feed_entries = Gauge("earmark_feed_entries", "Entries of the newest snapshot", ["feed"], registry=r)
        self.reanalysis = Gauge(
            "earmark_reanalysis", "Recordings for the generation that is being built", ["state"], registry=r
        )
        self.tracks = Gauge("earmark_tracks", "Tracks by state", ["state"], registry=r)

    def text(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
