-- name: get_verdict(uri)^
SELECT uri, version, pending, status, labels, reason, genres, notes, rankable, updated_us, audio_key, generation
FROM verdict WHERE uri = :uri;

-- name: put_verdict(uri, status, labels, reason, genres, notes, rankable, audio_key, generation, now_us)!
-- The stored verdict again is left alone. The turn: what takes away something live comes first, then the rest; of each
-- first what somebody ruled on, and the posts that carry its labels. (A label stands in the JSON list with its quotes.)
INSERT INTO verdict (
    uri, version, pending, status, labels, reason, genres, notes, rankable, audio_key, generation, updated_us, turn
) VALUES (
    :uri, 1, 1, :status, :labels, :reason, :genres, :notes, :rankable, :audio_key, :generation, :now_us,
    CASE WHEN EXISTS (
        SELECT 1 FROM label AS l WHERE l.uri = :uri AND l.is_current = 1 AND l.neg = 0
            AND (l.cid <> '' OR replace(:labels, '"' || l.val || '"', '') = :labels)
    ) THEN 0 ELSE 2 END
    + CASE WHEN EXISTS (
        SELECT 1 FROM ruling AS r
        WHERE r.uri = :uri OR r.uri = (SELECT m.track_uri FROM mirror AS m WHERE m.post_uri = :uri)
    ) THEN 0 ELSE 1 END
)
ON CONFLICT (uri) DO UPDATE SET
    version = verdict.version + 1, pending = 1, status = excluded.status, labels = excluded.labels,
    reason = excluded.reason, genres = excluded.genres, notes = excluded.notes, rankable = excluded.rankable,
    audio_key = excluded.audio_key, generation = excluded.generation, updated_us = excluded.updated_us,
    turn = excluded.turn
WHERE (verdict.status, verdict.labels, coalesce(verdict.reason, ''), verdict.genres, verdict.notes, verdict.rankable)
    <> (excluded.status, excluded.labels, coalesce(excluded.reason, ''), excluded.genres, excluded.notes, excluded.rankable);

-- name: reflected(now_us)
-- The posts that carry the labels of tracks with verdicts of this very moment, and those labels.
SELECT m.post_uri, v.labels FROM verdict AS v
JOIN mirror AS m ON m.track_uri = v.uri
WHERE v.pending = 1 AND v.turn IN (0, 1, 2, 3) AND v.updated_us = :now_us;

-- name: note_basis(uri, audio_key, generation)!
-- The same verdict on other grounds: nothing for the publisher.
UPDATE verdict SET audio_key = :audio_key, generation = :generation WHERE uri = :uri;

-- name: pending(limit)
-- What the publisher has to do, each verdict with the current rows of its subject (at least one row of this answer, with
-- NULLs). Of the tracks of accounts that are away (P151), and of posts that carry their labels, only what takes something
-- back: `away` says so, and is not worked out again where nothing is taken back.
SELECT
    waiting.uri, waiting.version, waiting.turn, waiting.labels, waiting.away, l.src, l.cid, l.val, l.neg, l.cts, l.exp
FROM (
    SELECT uri, version, turn, labels, updated_us, CASE WHEN turn < 2 THEN away ELSE 0 END AS away
    FROM (
        SELECT
            v.uri, v.version, v.turn, v.labels, v.updated_us,
            CASE WHEN EXISTS (
                SELECT 1 FROM track AS t JOIN account AS a ON a.did = t.did
                WHERE t.uri IN (v.uri, (SELECT m.track_uri FROM mirror AS m WHERE m.post_uri = v.uri)) AND a.active = 0
            ) THEN 1 ELSE 0 END AS away
        FROM verdict AS v WHERE v.pending = 1
    ) AS asked
    WHERE turn < 2 OR labels = '[]' OR away = 0
    ORDER BY turn, updated_us, uri LIMIT :limit
) AS waiting
LEFT JOIN label AS l ON l.uri = waiting.uri AND l.is_current = 1
ORDER BY waiting.turn, waiting.updated_us, waiting.uri, l.seq;

-- name: settle(uri, version)!
-- Only what the publisher saw: a newer verdict stays pending.
UPDATE verdict SET pending = 0 WHERE uri = :uri AND version = :version;

-- name: defer(uri, turn)!
-- What the publisher could do only a part of, and the rest is less pressing.
UPDATE verdict SET turn = :turn WHERE uri = :uri;

-- name: retire(uri, src, cid, val)!
-- The row that a newer one of its key replaces (P35).
UPDATE label SET is_current = 0
WHERE uri = :uri AND src = :src AND cid = :cid AND val = :val AND is_current = 1;

-- name: add(seq, src, uri, cid, val, neg, cts, cts_us, exp, ver, sig, key_id, json, is_current)!
INSERT INTO label (seq, src, uri, cid, val, neg, cts, cts_us, exp, ver, sig, key_id, json, is_current)
VALUES (:seq, :src, :uri, :cid, :val, :neg, :cts, :cts_us, :exp, :ver, :sig, :key_id, :json, :is_current);

-- name: live(uri, src)
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE uri = :uri AND src = :src AND is_current = 1
ORDER BY seq;

-- name: stream(after_seq, limit)
-- The log as subscribers read it: every row, in order.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE seq > :after_seq ORDER BY seq LIMIT :limit;

-- name: incomplete(limit)
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE json IS NULL ORDER BY seq LIMIT :limit;

-- name: complete(seq, json)!
UPDATE label SET json = :json WHERE seq = :seq;

-- name: newest_seq()$
SELECT coalesce(max(seq), 0) FROM label;
