-- name: heard_for(audio_key, limit)
-- Records whose verdict was decided by hearing this audio, and of which analysis.
SELECT t.uri, v.generation, n.created_us FROM track AS t
JOIN verdict AS v ON v.uri = t.uri AND v.audio_key = t.audio_key
JOIN analysis AS n ON n.audio_key = t.audio_key AND n.generation = v.generation
WHERE t.audio_key = :audio_key
ORDER BY t.track_id LIMIT :limit;

-- name: label_counts(src)
-- A walk over all labels: not to be asked for often.
SELECT val, count(*) FROM label WHERE src = :src AND is_current = 1 AND neg = 0 GROUP BY val ORDER BY count(*) DESC, val;

-- name: label_history(src, uri, limit)
-- Both halves have an index of their own.
SELECT seq, val, neg, cts, exp FROM label WHERE uri = :uri AND src = :src AND is_current = 1
UNION ALL
SELECT seq, val, neg, cts, exp FROM label WHERE uri = :uri AND src = :src AND is_current = 0
ORDER BY seq DESC LIMIT :limit;

-- name: tracks_of(did, after, limit)
SELECT track_id, uri FROM track WHERE did = :did AND track_id > :after ORDER BY track_id LIMIT :limit;

-- name: posts_by(did, after, limit)
SELECT post_uri, min(created_us), count(*) FROM link
WHERE post_did = :did AND post_uri > :after
GROUP BY post_uri ORDER BY post_uri LIMIT :limit;

-- name: disputes_with(did, first, last, after, limit)
-- About the account's records, or sent by it: each half by an index of its own.
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, reason_type, words, labels, decided_us
FROM dispute
WHERE dispute_id IN (
    SELECT dispute_id FROM dispute WHERE uri >= :first AND uri < :last AND dispute_id > :after
    UNION
    SELECT dispute_id FROM dispute WHERE reporter = :did AND dispute_id > :after
)
ORDER BY dispute_id LIMIT :limit;

-- name: wishes_of(did, limit)
SELECT uri, kind, scope, logged_in_only, updated_us FROM wish WHERE did = :did ORDER BY updated_us DESC, uri LIMIT :limit;

-- name: poster(did)^
SELECT born_us, met_us FROM poster WHERE did = :did;
