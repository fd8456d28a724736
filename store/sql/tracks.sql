-- name: known(uri)^
-- What decides whether a version is news.
SELECT track_id, rev, first_seen_us FROM track WHERE uri = :uri;

-- name: put(track_id, uri, did, cid, rev, state, reason, visibility_check, now_us, title, created_us, duration_ms, audio_key, page_url, explicit, gated, adult, credits, verified, feeds_min_seconds, record)$
-- A version of a record. Only a newer `rev` replaces a row, and a deleted one too; or another version of the same `rev`
-- that is proven, when the row is not; or any of the same `rev` where no version was kept, for its artist's wish. What the publishing app said of the older version no longer counts; a page address
-- once learnt stays unless the record names another.
INSERT INTO track (
    track_id, uri, did, cid, rev, state, reason, visibility, visibility_check, first_seen_us, updated_us,
    title, created_us, duration_ms, audio_key, page_url, explicit, gated, adult, credits,
    verified, feeds_min_seconds, record
) VALUES (
    :track_id, :uri, :did, :cid, :rev, :state, :reason, 'unknown', :visibility_check, :now_us, :now_us,
    :title, :created_us, :duration_ms, :audio_key, :page_url, :explicit, :gated, :adult, :credits,
    :verified, :feeds_min_seconds, :record
)
ON CONFLICT (uri) DO UPDATE SET
    cid = excluded.cid, rev = excluded.rev, state = excluded.state, reason = excluded.reason,
    visibility = excluded.visibility, visibility_check = excluded.visibility_check, updated_us = excluded.updated_us,
    title = excluded.title, created_us = excluded.created_us, duration_ms = excluded.duration_ms,
    audio_key = excluded.audio_key, page_url = coalesce(excluded.page_url, track.page_url),
    explicit = excluded.explicit, gated = excluded.gated, adult = excluded.adult,
    credits = excluded.credits, verified = excluded.verified, feeds_min_seconds = excluded.feeds_min_seconds,
    record = excluded.record
WHERE excluded.rev > track.rev
    OR (excluded.rev = track.rev AND excluded.verified > track.verified AND excluded.cid <> track.cid)
    OR (excluded.rev = track.rev AND track.cid = '' AND track.state <> 'withdrawn' AND excluded.cid <> '')
RETURNING track_id;

-- name: withdraw(track_id, uri, did, rev, now_us)$
-- A tombstone: the address, the revision and nothing that reveals content (P155).
INSERT INTO track (
    track_id, uri, did, cid, rev, state, reason, visibility, visibility_check, first_seen_us, updated_us,
    title, created_us, duration_ms, audio_key, page_url, explicit, gated, adult, credits,
    verified, feeds_min_seconds, record
) VALUES (
    :track_id, :uri, :did, '', :rev, 'withdrawn', 'withdrawn', 'unknown', NULL, :now_us, :now_us,
    '', 0, NULL, NULL, NULL, 0, 0, 0, '[]',
    0, NULL, '{}'
)
ON CONFLICT (uri) DO UPDATE SET
    cid = excluded.cid, rev = excluded.rev, state = excluded.state, reason = excluded.reason,
    visibility = excluded.visibility, visibility_check = excluded.visibility_check, updated_us = excluded.updated_us,
    title = excluded.title, created_us = excluded.created_us, duration_ms = excluded.duration_ms,
    audio_key = excluded.audio_key, page_url = excluded.page_url,
    explicit = excluded.explicit, gated = excluded.gated, adult = excluded.adult,
    credits = excluded.credits, verified = excluded.verified, feeds_min_seconds = excluded.feeds_min_seconds,
    record = excluded.record
WHERE excluded.rev >= track.rev
RETURNING track_id;

-- name: blank(did, reason, now_us)!
-- Nothing is left of an artist's records but where they are; the visibility that was asked for is forgotten too.
UPDATE track SET
    cid = '', state = 'refused', reason = :reason, visibility = 'unknown', visibility_us = NULL, updated_us = :now_us,
    title = '', created_us = 0, duration_ms = NULL, audio_key = NULL, page_url = NULL, explicit = 0, credits = '[]',
    verified = 0, record = '{}'
WHERE did = :did AND state <> 'withdrawn';

-- name: unpin(uri)!
UPDATE track SET rev = '' WHERE uri = :uri AND state = 'withdrawn';

-- name: verify(uri, cid)$
UPDATE track SET verified = 1 WHERE uri = :uri AND cid = :cid RETURNING track_id;

-- name: get(uri)^
SELECT
    t.track_id, t.uri, t.cid, t.rev, t.state, t.reason, t.visibility, t.visibility_check, t.first_seen_us,
    t.updated_us, t.title, t.created_us, t.duration_ms, t.page_url, t.explicit, t.gated, t.credits,
    t.verified, t.feeds_min_seconds, t.record,
    coalesce(a.active, 1) AS account_active
FROM track AS t LEFT JOIN account AS a ON a.did = t.did
WHERE t.uri = :uri;

-- name: of_account(did)
-- The same columns as `get`, oldest first.
SELECT
    t.track_id, t.uri, t.cid, t.rev, t.state, t.reason, t.visibility, t.visibility_check, t.first_seen_us,
    t.updated_us, t.title, t.created_us, t.duration_ms, t.page_url, t.explicit, t.gated, t.credits,
    t.verified, t.feeds_min_seconds, t.record,
    coalesce(a.active, 1) AS account_active
FROM track AS t LEFT JOIN account AS a ON a.did = t.did
WHERE t.did = :did
ORDER BY t.track_id;

-- name: created_after(did, after_us, limit)
-- What an account has published since a time, the newest first.
SELECT uri FROM track WHERE did = :did AND created_us > :after_us ORDER BY created_us DESC, uri LIMIT :limit;

-- name: of_audio(audio_key)
-- The same columns, oldest first, of all records of one audio.
SELECT
    t.track_id, t.uri, t.cid, t.rev, t.state, t.reason, t.visibility, t.visibility_check, t.first_seen_us,
    t.updated_us, t.title, t.created_us, t.duration_ms, t.page_url, t.explicit, t.gated, t.credits,
    t.verified, t.feeds_min_seconds, t.record,
    coalesce(a.active, 1) AS account_active
FROM track AS t LEFT JOIN account AS a ON a.did = t.did
WHERE t.audio_key = :audio_key
ORDER BY t.track_id;

-- name: set_state(uri, state, reason, now_us)!
UPDATE track SET state = :state, reason = :reason, updated_us = :now_us WHERE uri = :uri;

-- name: to_ask_again(before_us, now_us, limit)
-- Tracks whose app was asked before a time, and hidden ones after pauses that double from when they were first seen. The
-- longest ago first.
SELECT uri, cid FROM track
WHERE visibility_us < :now_us AND visibility_check IS NOT NULL
    AND (
        (visibility_us < :before_us AND state IN ('ready', 'undecided'))
        OR (
            state = 'refused' AND visibility = 'hidden'
            AND (visibility_us < :before_us OR :now_us - visibility_us > visibility_us - first_seen_us)
        )
    )
ORDER BY visibility_us, uri
LIMIT :limit;

-- name: set_visibility(uri, visibility, page_url, now_us)!
UPDATE track SET
    visibility = :visibility, page_url = coalesce(:page_url, page_url), visibility_us = :now_us, updated_us = :now_us
WHERE uri = :uri AND state <> 'withdrawn';

-- name: rankable()
-- Everything that feeds may show, heard or not. The decoded duration wins over the record's word; what was heard counts if
-- it is of the audio that the record names now.
SELECT
    t.track_id, t.uri, t.did, t.title, t.created_us, t.first_seen_us, t.duration_ms,
    (SELECT max(n.duration_seconds) FROM analysis AS n WHERE n.audio_key = t.audio_key) AS duration_seconds,
    t.audio_key, t.explicit, t.credits, t.feeds_min_seconds, t.record, t.state,
    v.labels, v.genres, v.rankable, v.reason, h.speech, h.voice, h.minor
FROM track AS t
LEFT JOIN verdict AS v ON v.uri = t.uri
LEFT JOIN analysis AS h ON h.audio_key = t.audio_key AND h.generation = v.generation
LEFT JOIN account AS a ON a.did = t.did
WHERE t.state IN ('queued', 'analysing', 'ready', 'undecided')
    AND coalesce(v.status, 'ok') IN ('ok', 'undecided')
    AND t.gated = 0
    AND t.adult = 0
    AND (t.visibility = 'public' OR (t.visibility = 'unknown' AND t.visibility_check IS NULL))
    AND coalesce(a.active, 1) = 1
    AND t.did NOT IN (SELECT w.did FROM wish AS w WHERE w.scope <> 'none')
ORDER BY t.track_id;

-- name: decided(after, limit)
-- What the policy has judged and may judge again, in the order it was first seen. (Not by the index on state: in order.)
SELECT track_id, uri FROM track
WHERE track_id > :after AND gated = 0 AND (state || '') IN ('ready', 'undecided', 'refused')
ORDER BY track_id
LIMIT :limit;

-- name: count_by_state()
SELECT state, count(*) FROM track GROUP BY state ORDER BY state;
