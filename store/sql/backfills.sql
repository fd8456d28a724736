-- name: unfinished(wanted)^
-- The one to go on with when the same is asked for again.
SELECT backfill_id, wanted, state, listing, started_us, finished_us FROM backfill
WHERE state = 'unfinished' AND wanted = :wanted ORDER BY backfill_id DESC LIMIT 1;

-- name: latest()^
SELECT backfill_id, wanted, state, listing, started_us, finished_us FROM backfill ORDER BY backfill_id DESC LIMIT 1;

-- name: forget_ended_repos()!
DELETE FROM backfill_repo
WHERE backfill_id IN (SELECT backfill_id FROM backfill WHERE state <> 'unfinished');

-- name: forget_ended()!
DELETE FROM backfill WHERE state <> 'unfinished';

-- name: begin(backfill_id, wanted, listing, now_us)!
INSERT INTO backfill (backfill_id, wanted, state, listing, started_us, finished_us)
VALUES (:backfill_id, :wanted, 'unfinished', :listing, :now_us, NULL);

-- name: note_listing(backfill_id, listing)!
UPDATE backfill SET listing = :listing WHERE backfill_id = :backfill_id;

-- name: finish(backfill_id, state, now_us)!
UPDATE backfill SET state = :state, finished_us = :now_us WHERE backfill_id = :backfill_id;

-- name: add_repo(backfill_id, did)!
INSERT INTO backfill_repo (backfill_id, did, state, reason, found, changed, withdrawn, attempts, due_us)
VALUES (:backfill_id, :did, 'waiting', NULL, 0, 0, 0, 0, 0)
ON CONFLICT (backfill_id, did) DO NOTHING;

-- name: due(backfill_id, now_us, limit)
SELECT did, attempts FROM backfill_repo
WHERE backfill_id = :backfill_id AND state = 'waiting' AND due_us <= :now_us ORDER BY due_us, did LIMIT :limit;

-- name: next_due_us(backfill_id)$
SELECT min(due_us) FROM backfill_repo WHERE backfill_id = :backfill_id AND state = 'waiting';

-- name: settle(backfill_id, did, state, reason, found)!
UPDATE backfill_repo SET state = :state, reason = :reason, found = :found
WHERE backfill_id = :backfill_id AND did = :did;

-- name: count(backfill_id, did, changed, withdrawn)!
UPDATE backfill_repo SET changed = changed + :changed, withdrawn = withdrawn + :withdrawn
WHERE backfill_id = :backfill_id AND did = :did;

-- name: put_off(backfill_id, did, reason, attempts, due_us)!
UPDATE backfill_repo SET reason = :reason, attempts = :attempts, due_us = :due_us
WHERE backfill_id = :backfill_id AND did = :did;

-- name: changed(backfill_id)$
SELECT coalesce(sum(changed), 0) FROM backfill_repo WHERE backfill_id = :backfill_id;

-- name: totals(backfill_id)
SELECT state, count(*), sum(found), sum(changed), sum(withdrawn) FROM backfill_repo
WHERE backfill_id = :backfill_id GROUP BY state ORDER BY state;

-- name: reasons(backfill_id)
-- Why some failed, and why others wait.
SELECT state, reason, count(*) FROM backfill_repo
WHERE backfill_id = :backfill_id AND state <> 'done' AND reason IS NOT NULL
GROUP BY state, reason ORDER BY state, reason;

-- name: accounts()
-- Who has tracks here that may have been deleted meanwhile.
SELECT DISTINCT did FROM track WHERE state <> 'withdrawn' ORDER BY did;
