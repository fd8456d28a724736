-- name: put(post_uri, target, post_did, rule, created_us, reply, adult, targets_in_post, card, langs, now_us)!
INSERT INTO link (post_uri, target, post_did, rule, created_us, reply, adult, targets_in_post, card, langs, seen_us)
VALUES (:post_uri, :target, :post_did, :rule, :created_us, :reply, :adult, :targets_in_post, :card, :langs, :now_us)
ON CONFLICT (post_uri, target) DO UPDATE SET
    post_did = excluded.post_did, rule = excluded.rule, created_us = excluded.created_us, reply = excluded.reply,
    adult = excluded.adult, targets_in_post = excluded.targets_in_post, card = excluded.card, langs = excluded.langs;

-- name: drop_post(post_uri)
DELETE FROM link WHERE post_uri = :post_uri RETURNING target;

-- name: uncount_target(target)!
-- Posts that link this hold one track less than it seemed.
UPDATE link SET targets_in_post = targets_in_post - 1
WHERE post_uri IN (SELECT o.post_uri FROM link AS o WHERE o.target = :target);

-- name: drop_target(target)
DELETE FROM link WHERE target = :target RETURNING post_uri;

-- name: drop_author(did)
DELETE FROM link WHERE post_did = :did RETURNING target;

-- name: drop_range(first, last)
-- Links to what lies in a range of addresses.
DELETE FROM link WHERE target >= :first AND target < :last RETURNING post_uri;

-- name: concerns(did)$
-- Whether the account has tracks or posts that link one.
SELECT (SELECT count(*) FROM track AS t WHERE t.did = :did) + (SELECT count(*) FROM link AS l WHERE l.post_did = :did);

-- name: has_post(post_uri)$
SELECT count(*) FROM link WHERE post_uri = :post_uri;

-- name: newest_posts(limit)
-- Every post that is known, the newest links first.
SELECT post_uri FROM link ORDER BY seen_us DESC LIMIT :limit;

-- name: tracks_of(post_uri)
-- What a post that links one thing may stand for.
SELECT t.uri FROM link AS l JOIN track AS t ON t.uri = l.target WHERE l.post_uri = :post_uri AND l.targets_in_post = 1
UNION
SELECT t.uri FROM link AS l JOIN track AS t ON t.page_url = l.target
WHERE l.post_uri = :post_uri AND l.targets_in_post = 1
UNION
SELECT p.uri FROM link AS l JOIN page AS p ON p.url = l.target JOIN track AS t ON t.uri = p.uri
WHERE l.post_uri = :post_uri AND l.targets_in_post = 1;

-- name: tracks_at(address)
-- The track at this address, or those whose page this is.
SELECT t.uri FROM track AS t WHERE t.uri = :address
UNION
SELECT t.uri FROM track AS t WHERE t.page_url = :address
UNION
SELECT t.uri FROM page AS p JOIN track AS t ON t.uri = p.uri WHERE p.url = :address;

-- name: of_track(uri, limit)
-- Posts that name the record or its page, of authors who are active.
SELECT l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card, l.langs
FROM link AS l
LEFT JOIN account AS a ON a.did = l.post_did
WHERE l.target IN (
    SELECT t.uri FROM track AS t WHERE t.uri = :uri
    UNION ALL
    SELECT t.page_url FROM track AS t WHERE t.uri = :uri
    UNION ALL
    SELECT p.url FROM page AS p WHERE p.uri = :uri
) AND coalesce(a.active, 1) = 1
ORDER BY l.created_us, l.post_uri, l.target
LIMIT :limit;

-- name: of_all_tracks(limit)
-- The posts that may stand for each track, its number in front: of many the `limit` best of POSTS.md section 3, so that
-- nobody can make a feed slow, or push the artist's own post out, with a flood of links. Of other people's posts those
-- that somebody likes come first, then those of the oldest accounts.
WITH pointing AS (
    SELECT
        t.track_id, t.did, t.credits, t.created_us AS track_us,
        l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card, l.langs
    FROM link AS l
    JOIN track AS t ON t.uri = l.target
    UNION ALL
    SELECT
        t.track_id, t.did, t.credits, t.created_us AS track_us,
        l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card, l.langs
    FROM link AS l
    JOIN track AS t ON t.page_url = l.target
    UNION ALL
    SELECT
        t.track_id, t.did, t.credits, t.created_us AS track_us,
        l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card, l.langs
    FROM page AS p
    JOIN track AS t ON t.uri = p.uri
    JOIN link AS l ON l.target = p.url
),
known AS (
    SELECT
        l.track_id, l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post,
        l.card, l.langs, o.born_us,
        CASE
            WHEN EXISTS (SELECT 1 FROM signal AS s WHERE s.subject = l.post_uri) THEN 1
            ELSE 0
        END AS liked,
        CASE
            WHEN l.post_did = l.did THEN 0
            WHEN replace(l.credits, l.post_did, '') <> l.credits THEN 1
            ELSE 2
        END AS relation
    FROM pointing AS l
    LEFT JOIN account AS a ON a.did = l.post_did
    LEFT JOIN poster AS o ON o.did = l.post_did
    WHERE coalesce(a.active, 1) = 1
        AND l.reply = 0
        AND l.adult = 0
        AND l.targets_in_post = 1
        AND l.created_us >= l.track_us - 86400000000
        AND NOT EXISTS (SELECT 1 FROM wish AS w WHERE w.did = l.post_did AND w.scope <> 'none')
),
placed AS (
    SELECT
        k.*,
        row_number() OVER (
            PARTITION BY k.track_id
            ORDER BY
                k.relation,
                CASE WHEN k.relation = 2 THEN -k.liked ELSE 0 END,
                CASE WHEN k.relation = 2 THEN coalesce(k.born_us, 4611686018427387904) ELSE 0 END,
                CASE WHEN k.rule IN ('R5', 'R6', 'R7') THEN k.rule ELSE '' END,
                k.card DESC, k.created_us, k.post_uri, k.target
        ) AS place
    FROM known AS k
)
SELECT
    track_id, post_uri, post_did, target, rule, created_us, reply, adult, targets_in_post, card, langs, born_us, liked
FROM placed
WHERE place <= :limit
ORDER BY track_id, created_us, post_uri, target;
