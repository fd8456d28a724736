-- name: get(uri)^
SELECT denied, stated FROM ruling WHERE uri = :uri;

-- name: put(uri, denied, stated, now_us)!
INSERT INTO ruling (uri, denied, stated, updated_us) VALUES (:uri, :denied, :stated, :now_us)
ON CONFLICT (uri) DO UPDATE SET denied = excluded.denied, stated = excluded.stated, updated_us = excluded.updated_us;

-- name: drop(uri)!
DELETE FROM ruling WHERE uri = :uri;
