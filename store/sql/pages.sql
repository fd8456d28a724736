-- name: known(url)$
SELECT state FROM page WHERE url = :url;

-- name: waiting()$
SELECT count(*) FROM page WHERE state = 'asking';

-- name: put(url, now_us)!
INSERT INTO page (url, uri, state, attempts, due_us) VALUES (:url, NULL, 'asking', 0, :now_us);

-- name: due(now_us, limit)
SELECT url, attempts FROM page WHERE state = 'asking' AND due_us <= :now_us ORDER BY due_us LIMIT :limit;

-- name: put_off(url, attempts, due_us)!
UPDATE page SET attempts = :attempts, due_us = :due_us WHERE url = :url;

-- name: settle(url, state, uri, now_us)!
UPDATE page SET state = :state, uri = :uri, due_us = :now_us WHERE url = :url;

-- name: forget_nothing(before_us)!
-- Pages that showed no track, asked long ago: a new link asks again.
DELETE FROM page WHERE state = 'nothing' AND due_us < :before_us;
