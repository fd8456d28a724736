-- name: get_verdict(uri)^
SELECT uri, version, pending, status, labels, reason, genres, notes, rankable, updated_us, audio_key, generation
FROM verdict WHERE uri = :uri;

-- name: put_verdict(uri, status, labels, reason, genres, notes, rankable, audio_key, generation, now_us)!
INSERT INTO verdict (
    uri, version, pending, status, labels, reason, genres, notes, rankable, audio_key, generation, updated_us
) VALUES (:uri, 1, 1, :status, :labels, :reason, :genres, :notes, :rankable, :audio_key, :generation, :now_us)
ON CONFLICT (uri) DO UPDATE SET
    version = verdict.version + 1, pending = 1, status = excluded.status, labels = excluded.labels,
    reason = excluded.reason, genres = excluded.genres, notes = excluded.notes, rankable = excluded.rankable,
    audio_key = excluded.audio_key, generation = excluded.generation, updated_us = excluded.updated_us;

-- name: note_basis(uri, audio_key, generation)!
-- The same verdict on other grounds: nothing for the publisher.
UPDATE verdict SET audio_key = :audio_key, generation = :generation WHERE uri = :uri;

-- name: pending(limit)
-- Pure retractions first: they must not wait behind a backfill. Then oldest first. Nothing new is said of the tracks of
-- accounts that are away (P151): that waits until they are back.
SELECT uri, version, pending, status, labels, reason, genres, notes, rankable, updated_us, audio_key, generation
FROM verdict
WHERE pending = 1 AND (labels = '[]' OR NOT EXISTS (
    SELECT 1 FROM track JOIN account ON account.did = track.did WHERE track.uri = verdict.uri AND account.active = 0
))
ORDER BY CASE WHEN labels = '[]' THEN 0 ELSE 1 END, updated_us, uri
LIMIT :limit;

-- name: settle(uri, version)$
-- Only what the publisher saw: a newer verdict stays pending.
UPDATE verdict SET pending = 0 WHERE uri = :uri AND version = :version
RETURNING version;

-- name: retire(uri, src, cid, val, cts_us)!
-- The row that a newer one of its key replaces (P35).
UPDATE label SET is_current = 0
WHERE uri = :uri AND src = :src AND cid = :cid AND val = :val AND is_current = 1 AND cts_us <= :cts_us;

-- name: add(seq, src, uri, cid, val, neg, cts, cts_us, exp, ver, sig, key_id, newest)!
-- `newest` is 1 for the newest row of its key in the batch; it becomes current unless `retire` left a newer one.
INSERT INTO label (seq, src, uri, cid, val, neg, cts, cts_us, exp, ver, sig, key_id, is_current)
VALUES (
    :seq, :src, :uri, :cid, :val, :neg, :cts, :cts_us, :exp, :ver, :sig, :key_id,
    CASE WHEN :newest = 1 AND NOT EXISTS (
        SELECT 1 FROM label AS other
        WHERE other.uri = :uri AND other.src = :src AND other.cid = :cid AND other.val = :val AND other.is_current = 1
    ) THEN 1 ELSE 0 END
);

-- name: live(uri, src)
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE uri = :uri AND src = :src AND is_current = 1
ORDER BY seq;

-- name: stream(after_seq, limit)
-- The log as subscribers read it: every row, in order.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE seq > :after_seq ORDER BY seq LIMIT :limit;

-- name: query_exact(uri, after_seq, any_source, src, limit)
-- Current rows of one subject. `+seq` keeps the planner away from walking the whole log in order.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE uri = :uri AND is_current = 1 AND +seq > :after_seq AND (:any_source = 1 OR src = :src)
ORDER BY +seq LIMIT :limit;

-- name: query_range(low, high, after_seq, any_source, src, limit)
-- Current rows of subjects low <= uri < high by their index, then sorted: right when the range is narrow.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE uri >= :low AND uri < :high AND is_current = 1 AND +seq > :after_seq AND (:any_source = 1 OR src = :src)
ORDER BY +seq LIMIT :limit;

-- name: query_walk(low, high, after_seq, any_source, src, limit)
-- The same rows by walking the log: right when a good part of all rows is in the range.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE (uri || '') >= :low AND (uri || '') < :high AND is_current = 1 AND seq > :after_seq AND (:any_source = 1 OR src = :src)
ORDER BY seq LIMIT :limit;

-- name: query_all(after_seq, any_source, src, limit)
-- Every current row: the pattern `*`.
SELECT seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id FROM label
WHERE is_current = 1 AND seq > :after_seq AND (:any_source = 1 OR src = :src)
ORDER BY seq LIMIT :limit;

-- name: width(low, high, cap)$
-- How many current rows a range has, counted up to `cap`.
SELECT count(*) FROM (
    SELECT 1 FROM label WHERE uri >= :low AND uri < :high AND is_current = 1 LIMIT :cap
) AS counted;

-- name: newest_seq()$
SELECT coalesce(max(seq), 0) FROM label;

-- name: resign(seq, sig, key_id)!
-- After a change of key: a new signature over the same bytes, `cts` and all (P41).
UPDATE label SET sig = :sig, key_id = :key_id WHERE seq = :seq;
