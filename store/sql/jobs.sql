-- name: supersede(uri, cid, now_us)!
-- Ends the open jobs for other versions of a record; whoever holds one commits nothing.
UPDATE job SET state = 'done', reason = 'superseded', worker = NULL, updated_us = :now_us
WHERE uri = :uri AND cid <> :cid AND state IN ('ready', 'leased');

-- name: forget_ended(uri, cid)!
-- Makes room for another run of the same version. The new row has a new number, so old leases stay fenced off.
DELETE FROM job WHERE uri = :uri AND cid = :cid AND state IN ('done', 'dead');

-- name: open(uri, cid)$
SELECT job_id FROM job WHERE uri = :uri AND cid = :cid AND state IN ('ready', 'leased');

-- name: add(job_id, uri, cid, due_us, now_us)!
INSERT INTO job (job_id, uri, cid, state, attempt, worker, reason, due_us, updated_us)
VALUES (:job_id, :uri, :cid, 'ready', 0, NULL, NULL, :due_us, :now_us)
ON CONFLICT (uri, cid) DO NOTHING;

-- name: add_dead(job_id, uri, cid, reason, now_us)!
-- A job that ended before it began.
INSERT INTO job (job_id, uri, cid, state, attempt, worker, reason, due_us, updated_us)
VALUES (:job_id, :uri, :cid, 'dead', 0, NULL, :reason, :now_us, :now_us)
ON CONFLICT (uri, cid) DO NOTHING;

-- name: claim(worker, now_us, lease_until_us)^
-- The job that has been due longest: ready, or leased to somebody whose lease ran out.
UPDATE job SET
    state = 'leased', attempt = attempt + 1, worker = :worker, due_us = :lease_until_us, updated_us = :now_us
WHERE job_id = (
    SELECT job_id FROM job
    WHERE state IN ('ready', 'leased') AND due_us <= :now_us
    ORDER BY due_us, job_id
    LIMIT 1 {skip_locked}
)
RETURNING job_id, uri, cid, attempt, worker, due_us, waits;

-- name: renew(job_id, worker, attempt, lease_until_us, now_us)$
UPDATE job SET due_us = :lease_until_us, updated_us = :now_us
WHERE job_id = :job_id AND state = 'leased' AND worker = :worker AND attempt = :attempt
RETURNING job_id;

-- name: finish(job_id, worker, attempt, state, reason, now_us)$
UPDATE job SET state = :state, reason = :reason, worker = NULL, updated_us = :now_us
WHERE job_id = :job_id AND state = 'leased' AND worker = :worker AND attempt = :attempt
RETURNING job_id;

-- name: retry(job_id, worker, attempt, reason, due_us, waits, now_us)$
UPDATE job SET
    state = 'ready', reason = :reason, worker = NULL, due_us = :due_us, waits = :waits, updated_us = :now_us
WHERE job_id = :job_id AND state = 'leased' AND worker = :worker AND attempt = :attempt
RETURNING job_id;

-- name: release(job_id, worker, attempt, now_us)$
-- Given back unused: the attempt does not count.
UPDATE job SET state = 'ready', attempt = attempt - 1, worker = NULL, due_us = :now_us, updated_us = :now_us
WHERE job_id = :job_id AND state = 'leased' AND worker = :worker AND attempt = :attempt
RETURNING job_id;

-- name: hasten(first, last, reason, now_us)!
-- The jobs of all records of an account are a range of addresses.
UPDATE job SET due_us = :now_us, updated_us = :now_us
WHERE uri >= :first AND uri < :last AND state = 'ready' AND reason = :reason AND due_us > :now_us;

-- name: reclaim(now_us)!
-- Every lease is given back: whoever held it is gone. For a store that only one process works on.
UPDATE job SET state = 'ready', worker = NULL, due_us = :now_us, updated_us = :now_us
WHERE state IN ('ready', 'leased') AND state = 'leased';

-- name: latest(uri)^
SELECT job_id, uri, cid, state, attempt, reason, due_us, updated_us FROM job
WHERE uri = :uri ORDER BY job_id DESC LIMIT 1;

-- name: counts()
SELECT state, count(*) FROM job GROUP BY state ORDER BY state;

-- name: ready_count(now_us)$
-- Both conditions: the first one names the index.
SELECT count(*) FROM job WHERE state IN ('ready', 'leased') AND due_us <= :now_us AND state = 'ready';

-- name: next_due_us()$
SELECT min(due_us) FROM job WHERE state IN ('ready', 'leased');
