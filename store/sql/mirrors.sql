-- name: range_end(after, limit)$
-- The last of the next `limit` tracks.
SELECT max(track_id) FROM (
    SELECT t.track_id FROM track AS t WHERE t.track_id > :after ORDER BY t.track_id LIMIT :limit
) AS some;

-- name: wanted(after, upto, own, announcer, src, limit)
-- Posts that link one of these tracks and nothing else: the announcer's, and if `own` its artist's. Of many the `limit`
-- first of each track. A page that more than one track claims names none, but nobody's claim takes an artist's own post
-- away. The labeler's own posts are left out: readers drop what it says of them (P27).
WITH pointing AS (
    SELECT t.uri AS track_uri, t.did, l.post_uri, l.post_did, l.created_us
    FROM track AS t
    JOIN link AS l ON l.target = t.uri
    WHERE t.track_id > :after AND t.track_id <= :upto AND l.targets_in_post = 1
    UNION
    SELECT t.uri AS track_uri, t.did, l.post_uri, l.post_did, l.created_us
    FROM track AS t
    JOIN link AS l ON l.target = t.page_url
    WHERE t.track_id > :after AND t.track_id <= :upto AND l.targets_in_post = 1
        AND NOT EXISTS (
            SELECT 1 FROM track AS o
            WHERE o.page_url = t.page_url AND o.uri <> t.uri AND (o.did = t.did OR l.post_did <> t.did)
        )
        AND NOT EXISTS (SELECT 1 FROM page AS p WHERE p.url = t.page_url AND p.uri <> t.uri)
    UNION
    SELECT t.uri AS track_uri, t.did, l.post_uri, l.post_did, l.created_us
    FROM track AS t
    JOIN page AS p ON p.uri = t.uri
    JOIN link AS l ON l.target = p.url
    WHERE t.track_id > :after AND t.track_id <= :upto AND l.targets_in_post = 1
),
placed AS (
    SELECT p.*, row_number() OVER (PARTITION BY p.track_uri ORDER BY p.created_us, p.post_uri) AS place
    FROM pointing AS p
    WHERE p.post_did <> :src AND (p.post_did = :announcer OR (:own = 1 AND p.post_did = p.did))
)
SELECT
    p.post_uri, p.track_uri, coalesce(v.labels, '[]') AS labels,
    CASE
        WHEN EXISTS (SELECT 1 FROM account AS a WHERE a.did IN (p.did, p.post_did) AND a.active = 0) THEN 1
        ELSE 0
    END AS away
FROM placed AS p
LEFT JOIN verdict AS v ON v.uri = p.track_uri
WHERE p.place <= :limit;

-- name: held(after, upto)
-- Posts that carry the labels of one of these tracks, and those that they ought to have at present.
SELECT m.post_uri, m.track_uri, coalesce(v.labels, '[]') AS labels
FROM track AS t
JOIN mirror AS m ON m.track_uri = t.uri
LEFT JOIN verdict AS v ON v.uri = m.post_uri
WHERE t.track_id > :after AND t.track_id <= :upto;

-- name: put(post_uri, track_uri, now_us)!
INSERT INTO mirror (post_uri, track_uri, updated_us) VALUES (:post_uri, :track_uri, :now_us)
ON CONFLICT (post_uri) DO UPDATE SET track_uri = excluded.track_uri, updated_us = excluded.updated_us;

-- name: drop(post_uri)!
DELETE FROM mirror WHERE post_uri = :post_uri;

-- name: track_of(post_uri)$
SELECT track_uri FROM mirror WHERE post_uri = :post_uri;

-- name: posts_of(track_uri)
SELECT post_uri FROM mirror WHERE track_uri = :track_uri ORDER BY post_uri;
