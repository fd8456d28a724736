-- name: put(post_uri, target, post_did, rule, created_us, reply, adult, targets_in_post, card, now_us)!
INSERT INTO link (post_uri, target, post_did, rule, created_us, reply, adult, targets_in_post, card, seen_us)
VALUES (:post_uri, :target, :post_did, :rule, :created_us, :reply, :adult, :targets_in_post, :card, :now_us)
ON CONFLICT (post_uri, target) DO UPDATE SET
    post_did = excluded.post_did, rule = excluded.rule, created_us = excluded.created_us, reply = excluded.reply,
    adult = excluded.adult, targets_in_post = excluded.targets_in_post, card = excluded.card;

-- name: drop_post(post_uri)!
DELETE FROM link WHERE post_uri = :post_uri;

-- name: of_track(uri)
-- Posts that name the record or its page, of authors who are active.
SELECT l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card
FROM track AS t
JOIN link AS l ON l.target IN (t.uri, t.page_url)
LEFT JOIN account AS a ON a.did = l.post_did
WHERE t.uri = :uri AND coalesce(a.active, 1) = 1
ORDER BY l.created_us, l.post_uri, l.target;

-- name: of_all_tracks()
-- The same for every track at once, its number in front.
SELECT t.track_id, l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card
FROM link AS l
JOIN track AS t ON t.uri = l.target
LEFT JOIN account AS a ON a.did = l.post_did
WHERE coalesce(a.active, 1) = 1
UNION ALL
SELECT t.track_id, l.post_uri, l.post_did, l.target, l.rule, l.created_us, l.reply, l.adult, l.targets_in_post, l.card
FROM link AS l
JOIN track AS t ON t.page_url = l.target
LEFT JOIN account AS a ON a.did = l.post_did
WHERE coalesce(a.active, 1) = 1
ORDER BY 1, 6, 2, 4;
