-- name: put(record_key, subject, actor_key, kind, created_us)!
INSERT INTO signal (record_key, subject, actor_key, kind, created_us)
VALUES (:record_key, :subject, :actor_key, :kind, :created_us)
ON CONFLICT (record_key, subject) DO NOTHING;

-- name: drop_record(record_key)!
DELETE FROM signal WHERE record_key = :record_key;

-- name: drop_actor(actor_key)!
DELETE FROM signal WHERE actor_key = :actor_key;

-- name: drop_subject(subject)!
DELETE FROM signal WHERE subject = :subject;

-- name: drop_range(first, last)!
DELETE FROM signal WHERE subject >= :first AND subject < :last;

-- name: count(subject)
-- How many accounts gave each kind of signal: one that gives it twice counts once.
SELECT kind, count(DISTINCT actor_key) FROM signal WHERE subject = :subject GROUP BY kind ORDER BY kind;

-- name: edges(limit)
-- Who gave any kind of signal to what, the newest.
SELECT actor_key, subject FROM signal ORDER BY created_us DESC LIMIT :limit;

-- name: given(actor_key)
SELECT kind, count(*) FROM signal WHERE actor_key = :actor_key GROUP BY kind ORDER BY kind;
