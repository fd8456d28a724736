-- name: get(generation)^
SELECT generation, packs, state, reason, started_us, finished_us FROM generation WHERE generation = :generation;

-- name: living()
-- Serving first.
SELECT generation, packs, state, reason, started_us, finished_us FROM generation
WHERE state IN ('serving', 'building', 'failed')
ORDER BY CASE state WHEN 'serving' THEN 0 ELSE 1 END, started_us;

-- name: put(generation, packs, state, now_us)!
-- A generation that was retired and comes back begins a new life.
INSERT INTO generation (generation, packs, state, reason, started_us, finished_us)
VALUES (:generation, :packs, :state, NULL, :now_us, NULL)
ON CONFLICT (generation) DO UPDATE SET
    packs = excluded.packs, state = excluded.state, reason = NULL, started_us = excluded.started_us, finished_us = NULL;

-- name: set_state(generation, was, state, reason, now_us)$
UPDATE generation SET state = :state, reason = :reason, finished_us = :now_us
WHERE generation = :generation AND state = :was
RETURNING generation;

-- name: next_unheard(generation, after, now_us, limit)
-- Tracks that were decided by hearing and whose audio this generation has not heard; not those that wait or were given up.
-- Walks on from `after` in the order of the key: `|| ''` keeps the planner from gathering and sorting all of them.
SELECT t.track_id, t.uri, t.audio_key FROM track AS t
JOIN verdict AS v ON v.uri = t.uri
LEFT JOIN account AS a ON a.did = t.did
WHERE t.track_id > :after AND t.audio_key IS NOT NULL AND t.gated = 0
    AND (t.state || '') IN ('ready', 'undecided', 'refused') AND v.generation IS NOT NULL AND v.audio_key = t.audio_key
    AND coalesce(a.active, 1) = 1
    AND NOT EXISTS (SELECT 1 FROM analysis AS n WHERE n.audio_key = t.audio_key AND n.generation = :generation)
    AND NOT EXISTS (
        SELECT 1 FROM unheard AS u
        WHERE u.audio_key = t.audio_key AND u.generation = :generation AND (u.due_us IS NULL OR u.due_us > :now_us)
    )
ORDER BY t.track_id
LIMIT :limit;

-- name: count_left(generation)$
-- Audio still to be heard, that which waits for another try included.
SELECT count(DISTINCT t.audio_key) FROM track AS t
JOIN verdict AS v ON v.uri = t.uri
LEFT JOIN account AS a ON a.did = t.did
WHERE t.audio_key IS NOT NULL AND t.gated = 0
    AND t.state IN ('ready', 'undecided', 'refused') AND v.generation IS NOT NULL AND v.audio_key = t.audio_key
    AND coalesce(a.active, 1) = 1
    AND NOT EXISTS (SELECT 1 FROM analysis AS n WHERE n.audio_key = t.audio_key AND n.generation = :generation)
    AND NOT EXISTS (
        SELECT 1 FROM unheard AS u
        WHERE u.audio_key = t.audio_key AND u.generation = :generation AND u.due_us IS NULL
    );

-- name: count_heard(generation)$
SELECT count(*) FROM analysis WHERE generation = :generation;

-- name: count_unheard(generation)
SELECT reason, CASE WHEN due_us IS NULL THEN 1 ELSE 0 END AS given_up, count(*) FROM unheard
WHERE generation = :generation GROUP BY 1, 2 ORDER BY 1, 2;

-- name: count_overdue(generation, since_us)$
-- Audio still to be heard that was first tried so long ago: few rows, each looked up.
SELECT count(*) FROM unheard AS u
WHERE u.generation = :generation AND u.due_us IS NOT NULL AND u.since_us <= :since_us
    AND NOT EXISTS (SELECT 1 FROM analysis AS n WHERE n.audio_key = u.audio_key AND n.generation = :generation)
    AND EXISTS (
        SELECT 1 FROM track AS t
        JOIN verdict AS v ON v.uri = t.uri
        LEFT JOIN account AS a ON a.did = t.did
        WHERE t.audio_key = u.audio_key AND t.gated = 0
            AND t.state IN ('ready', 'undecided', 'refused') AND v.generation IS NOT NULL AND v.audio_key = t.audio_key
            AND coalesce(a.active, 1) = 1
    );

-- name: note_unheard(generation, audio_key, attempts, reason, due_us, now_us)!
INSERT INTO unheard (generation, audio_key, attempts, reason, due_us, since_us, updated_us)
VALUES (:generation, :audio_key, :attempts, :reason, :due_us, :now_us, :now_us)
ON CONFLICT (generation, audio_key) DO UPDATE SET
    attempts = excluded.attempts, reason = excluded.reason, due_us = excluded.due_us,
    updated_us = excluded.updated_us;

-- name: tried(generation, audio_key)^
SELECT attempts, since_us FROM unheard WHERE generation = :generation AND audio_key = :audio_key;

-- name: forget_unheard(generation, audio_key)!
DELETE FROM unheard WHERE generation = :generation AND audio_key = :audio_key;

-- name: forget_all_unheard(generation)!
DELETE FROM unheard WHERE generation = :generation;

-- name: next_due_us(generation, now_us)$
SELECT min(due_us) FROM unheard WHERE generation = :generation AND due_us > :now_us;

-- name: next_unjudged(generation, after, limit)
-- Tracks decided on another generation although this one has heard their audio. Those on their way are the worker's.
SELECT t.track_id, t.uri FROM track AS t
JOIN verdict AS v ON v.uri = t.uri
WHERE t.track_id > :after AND t.gated = 0 AND (t.state || '') IN ('ready', 'undecided', 'refused')
    AND v.generation <> :generation AND v.audio_key = t.audio_key
    AND EXISTS (SELECT 1 FROM analysis AS n WHERE n.audio_key = t.audio_key AND n.generation = :generation)
ORDER BY t.track_id
LIMIT :limit;

-- name: leftover()$
-- Whether a retired generation still holds anything.
SELECT 1 FROM generation AS g WHERE g.state = 'retired' AND (
    EXISTS (SELECT 1 FROM analysis AS n WHERE n.generation = g.generation)
    OR EXISTS (SELECT 1 FROM vector AS v WHERE v.generation = g.generation)
    OR EXISTS (SELECT 1 FROM unheard AS u WHERE u.generation = g.generation)
);

-- name: clear_analyses(limit)
-- Some analyses of retired generations.
DELETE FROM analysis WHERE (generation, audio_key) IN (
    SELECT n.generation, n.audio_key FROM generation AS g JOIN analysis AS n ON n.generation = g.generation
    WHERE g.state = 'retired' LIMIT :limit
)
RETURNING audio_key;

-- name: clear_vectors(limit)
-- Some vectors of retired generations, in the order of their log.
DELETE FROM vector WHERE (generation, seq) IN (
    SELECT v.generation, v.seq FROM generation AS g JOIN vector AS v ON v.generation = g.generation
    WHERE g.state = 'retired' LIMIT :limit
)
RETURNING seq;

-- name: clear_unheard()!
DELETE FROM unheard WHERE generation IN (SELECT generation FROM generation WHERE state = 'retired');
