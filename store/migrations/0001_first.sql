-- The first schema. Portable but for two of the engine's tokens: `{bytewise}` is the order of text by its bytes (the
-- default on SQLite, COLLATE "C" on PostgreSQL), `{number}` a 64-bit key (SQLite keeps rows in the order of an `integer`
-- key; PostgreSQL says bigint). Times are integer microseconds, flags smallint, JSON is text. `bytea` is a type that
-- PostgreSQL needs and that SQLite stores as it is given.

-- Every number that somebody follows or keeps comes from a row here, taken inside the transaction that uses it.
CREATE TABLE counter (
    name text {bytewise} PRIMARY KEY,
    value bigint NOT NULL
);

-- Where each source was read up to. Written in the transaction that stored the events.
CREATE TABLE cursor (
    source text {bytewise} PRIMARY KEY,
    value bigint NOT NULL,
    wall_us bigint NOT NULL
);

-- What an account's host last said. No row: active.
CREATE TABLE account (
    did text {bytewise} PRIMARY KEY,
    active smallint NOT NULL,
    status text,
    updated_us bigint NOT NULL
);

-- One row for each record ever seen; a deleted one stays as a tombstone without content.
CREATE TABLE track (
    track_id {number} PRIMARY KEY,
    uri text {bytewise} NOT NULL UNIQUE,
    did text {bytewise} NOT NULL,
    cid text {bytewise} NOT NULL,
    rev text {bytewise} NOT NULL,
    state text NOT NULL,
    reason text,
    visibility text NOT NULL,
    visibility_check text,
    visibility_us bigint,
    first_seen_us bigint NOT NULL,
    updated_us bigint NOT NULL,
    title text NOT NULL,
    created_us bigint NOT NULL,
    duration_ms bigint,
    audio_key text {bytewise},
    page_url text {bytewise},
    explicit smallint NOT NULL,
    gated smallint NOT NULL,
    adult smallint NOT NULL,
    credits text NOT NULL,
    record text NOT NULL
);

CREATE INDEX track_of_account ON track (did);

CREATE INDEX track_by_state ON track (state);

-- `due_us`: when ready, the earliest start; when leased, the end of the lease. So one index answers a claim.
CREATE TABLE job (
    job_id {number} PRIMARY KEY,
    uri text {bytewise} NOT NULL,
    cid text {bytewise} NOT NULL,
    state text NOT NULL,
    attempt bigint NOT NULL,
    worker text,
    reason text,
    due_us bigint NOT NULL,
    updated_us bigint NOT NULL,
    UNIQUE (uri, cid)
);

CREATE INDEX track_asked ON track (visibility_us, uri) WHERE visibility_check IS NOT NULL;

CREATE INDEX job_due ON job (due_us, job_id, state) WHERE state IN ('ready', 'leased');

-- What listening yields, by audio and pack. `vectors` holds little-endian float32, concatenated as `body` says.
CREATE TABLE analysis (
    audio_key text {bytewise} NOT NULL,
    pack_hash text {bytewise} NOT NULL,
    duration_seconds double precision NOT NULL,
    body text NOT NULL,
    vectors bytea NOT NULL,
    created_us bigint NOT NULL,
    PRIMARY KEY (audio_key, pack_hash)
);

-- How often this audio brought the listening child down.
CREATE TABLE crash (
    audio_key text {bytewise} PRIMARY KEY,
    crashes bigint NOT NULL,
    updated_us bigint NOT NULL
);

-- The log that vector indexes follow: one row a (track, space), moved to a new number when it changes; NULL bytes: gone.
CREATE TABLE vector (
    track_id bigint NOT NULL REFERENCES track (track_id),
    space text {bytewise} NOT NULL,
    seq bigint NOT NULL UNIQUE,
    pack_hash text NOT NULL,
    bytes bytea,
    PRIMARY KEY (track_id, space)
);

-- The outbox of the publisher: which labels ought to be live. `version` lets it settle only what it saw.
CREATE TABLE verdict (
    uri text {bytewise} PRIMARY KEY,
    version bigint NOT NULL,
    pending smallint NOT NULL,
    status text NOT NULL,
    labels text NOT NULL,
    reason text,
    genres text NOT NULL,
    notes text NOT NULL,
    rankable smallint NOT NULL,
    updated_us bigint NOT NULL
);

CREATE INDEX verdict_pending ON verdict (updated_us) WHERE pending = 1;

-- The label log. `cid` is '' for an unpinned label; `cts` and `exp` are the very texts that were signed; `cts_us` is
-- `cts` as a number, for order only. `is_current`: the newest row of its key, retractions included (P35, P58).
CREATE TABLE label (
    seq {number} PRIMARY KEY,
    src text {bytewise} NOT NULL,
    uri text {bytewise} NOT NULL,
    cid text {bytewise} NOT NULL,
    val text {bytewise} NOT NULL,
    neg smallint NOT NULL,
    cts text NOT NULL,
    cts_us bigint NOT NULL,
    exp text,
    ver smallint NOT NULL,
    sig bytea NOT NULL,
    key_id text NOT NULL,
    is_current smallint NOT NULL
);

-- At most one current row a key: the engine itself guards it. Starts with `uri` because readers ask by subject.
CREATE UNIQUE INDEX label_current ON label (uri, src, cid, val) WHERE is_current = 1;

-- Posts that point at tracks. `target` may be a record's at-uri or a page URL, known or not yet known.
CREATE TABLE link (
    post_uri text {bytewise} NOT NULL,
    target text {bytewise} NOT NULL,
    post_did text {bytewise} NOT NULL,
    rule text NOT NULL,
    created_us bigint NOT NULL,
    reply smallint NOT NULL,
    adult smallint NOT NULL,
    targets_in_post bigint NOT NULL,
    card smallint NOT NULL,
    seen_us bigint NOT NULL,
    PRIMARY KEY (post_uri, target)
);

CREATE INDEX link_by_target ON link (target);
