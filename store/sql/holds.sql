-- name: of(uri)
-- What is kept back on a record: on it alone, and on all of them.
SELECT val FROM hold WHERE uri IN (:uri, '*') ORDER BY val;

-- name: put(uri, val, now_us)!
INSERT INTO hold (uri, val, created_us) VALUES (:uri, :val, :now_us) ON CONFLICT (uri, val) DO NOTHING;

-- name: lift(uri, val)
-- `uri` '' for every record and for all of them together, `val` '' for every value.
DELETE FROM hold WHERE (:uri = '' OR uri = :uri) AND (:val = '' OR val = :val) RETURNING uri;

-- name: in_force(limit)
SELECT uri, val, created_us FROM hold ORDER BY created_us, uri, val LIMIT :limit;

-- name: labelled(src, since_us, after_uri, limit)
-- Tracks with a label that was made since a time and is live, or with one that is asked for and not signed yet. Posts
-- follow their tracks.
SELECT v.uri FROM track AS t
JOIN verdict AS v ON v.uri = t.uri
WHERE t.uri > :after_uri AND v.labels <> '[]' AND (
    (v.pending = 1 AND v.updated_us >= :since_us)
    OR EXISTS (
        SELECT 1 FROM label AS l
        WHERE l.uri = v.uri AND l.src = :src AND l.is_current = 1 AND l.neg = 0
            AND l.cts_us >= :since_us
    )
)
ORDER BY t.uri
LIMIT :limit;
