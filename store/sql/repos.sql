-- name: get(did)^
SELECT did, rev, data, state, reason, attempts, due_us FROM repo WHERE did = :did;

-- name: follow(did, now_us)!
INSERT INTO repo (did, rev, data, state, reason, attempts, due_us, doubted_us, settled_us, updated_us)
VALUES (:did, '', NULL, 'synchronised', NULL, 0, 0, 0, 0, :now_us)
ON CONFLICT (did) DO NOTHING;

-- name: advance(did, rev, data, now_us)!
-- Only forward; a repository that is not followed stays so.
UPDATE repo SET rev = :rev, data = :data, updated_us = :now_us WHERE did = :did AND rev < :rev;

-- name: doubt(did, reason, due_us, rest_us, now_us)!
-- One that is in doubt already keeps its turn, unless the new one is earlier and no walk has failed. A walk that succeeded
-- a moment ago is given a rest.
UPDATE repo SET
    reason = :reason,
    doubted_us = :now_us,
    due_us = CASE
        WHEN state = 'desynchronised' AND (attempts > 0 OR due_us <= :due_us) THEN due_us
        WHEN settled_us + :rest_us > :due_us THEN settled_us + :rest_us
        ELSE :due_us
    END,
    attempts = CASE WHEN state = 'desynchronised' THEN attempts ELSE 0 END,
    state = 'desynchronised',
    updated_us = :now_us
WHERE did = :did;

-- name: renew_doubts(now_us)!
UPDATE repo SET doubted_us = :now_us WHERE state = 'desynchronised';

-- name: synchronised()
SELECT did FROM repo WHERE state = 'synchronised' ORDER BY did;

-- name: due(now_us, limit)
SELECT did, rev, data, state, reason, attempts, due_us FROM repo
WHERE state = 'desynchronised' AND due_us <= :now_us ORDER BY due_us, did LIMIT :limit;

-- name: next_due_us(now_us)$
SELECT min(due_us) FROM repo WHERE state = 'desynchronised' AND due_us > :now_us;

-- name: put_off(did, reason, attempts, due_us, now_us)!
UPDATE repo SET attempts = :attempts, reason = :reason, due_us = :due_us, updated_us = :now_us
WHERE did = :did AND state = 'desynchronised';

-- name: settle(did, since_us, now_us)$
-- Unless it was doubted again since then.
UPDATE repo SET
    state = 'synchronised', reason = NULL, attempts = 0, due_us = 0, settled_us = :now_us, updated_us = :now_us
WHERE did = :did AND doubted_us <= :since_us
RETURNING did;

-- name: followed()
SELECT did FROM repo ORDER BY did;

-- name: counts()
SELECT state, count(*) FROM repo GROUP BY state ORDER BY state;

-- name: known(did)
-- What the store holds of a repository's records. A control record's version is not kept, and that of a track which was
-- refused for a wish neither: they count as changed.
SELECT uri, cid FROM track WHERE did = :did AND state <> 'withdrawn'
UNION ALL
SELECT uri, '' AS cid FROM wish WHERE did = :did AND (scope <> 'none' OR logged_in_only = 1);
