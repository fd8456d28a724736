-- name: meet(did, now_us)!
INSERT INTO poster (did, born_us, met_us, attempts, due_us) VALUES (:did, NULL, :now_us, 0, :now_us)
ON CONFLICT (did) DO NOTHING;

-- name: due(now_us, limit)
SELECT did, met_us, attempts FROM poster WHERE born_us IS NULL AND due_us <= :now_us ORDER BY due_us LIMIT :limit;

-- name: put_off(did, attempts, due_us)!
UPDATE poster SET attempts = :attempts, due_us = :due_us WHERE did = :did;

-- name: settle(did, born_us)!
UPDATE poster SET born_us = :born_us WHERE did = :did;

-- name: forget(did)!
DELETE FROM poster WHERE did = :did;
