-- name: ask(uri, now_us)!
INSERT INTO link_question (uri, asked, due_us) VALUES (:uri, 0, :now_us)
ON CONFLICT (uri) DO UPDATE SET asked = excluded.asked, due_us = excluded.due_us;

-- name: due(now_us, limit)
SELECT uri, asked FROM link_question WHERE due_us <= :now_us ORDER BY due_us LIMIT :limit;

-- name: put_off(uri, asked, due_us)!
UPDATE link_question SET asked = :asked, due_us = :due_us WHERE uri = :uri;

-- name: drop(uri)!
DELETE FROM link_question WHERE uri = :uri;

-- name: wake(shelved_us, now_us)!
UPDATE link_question SET due_us = :now_us WHERE due_us = :shelved_us;

-- name: name_post(uri, post_uri)$
INSERT INTO named_post (uri, post_uri) VALUES (:uri, :post_uri)
ON CONFLICT (uri, post_uri) DO NOTHING
RETURNING uri;

-- name: named_posts(uri, limit)
SELECT post_uri FROM named_post WHERE uri = :uri ORDER BY post_uri DESC LIMIT :limit;

-- name: forget_posts(uri)!
DELETE FROM named_post WHERE uri = :uri;
