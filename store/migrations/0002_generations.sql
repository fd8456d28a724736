-- Generations: which packs, in which version of listening, the analyses and vectors are of. One serves; another one may
-- be built beside it. What a database held before belongs to a generation that is named as its pack's hash was.

-- `packs` is a JSON object, name to hash. States: building, serving, retired (being deleted, then history), failed.
CREATE TABLE generation (
    generation text {bytewise} PRIMARY KEY,
    packs text NOT NULL,
    state text NOT NULL,
    reason text,
    started_us bigint NOT NULL,
    finished_us bigint
);

-- At most one of each: the engine itself guards it.
CREATE UNIQUE INDEX generation_serving ON generation (state) WHERE state = 'serving';

CREATE UNIQUE INDEX generation_building ON generation (state) WHERE state = 'building';

INSERT INTO generation (generation, packs, state, reason, started_us, finished_us)
SELECT pack_hash, '{"musicnn":"' || pack_hash || '"}', 'retired', NULL, min(created_us), max(created_us)
FROM analysis GROUP BY pack_hash;

-- Only one pack ever existed; should there have been two versions of it, the one heard last is the one that serves.
UPDATE generation SET state = 'serving' WHERE generation = (
    SELECT generation FROM generation ORDER BY finished_us DESC, generation LIMIT 1
);

ALTER TABLE analysis RENAME COLUMN pack_hash TO generation;

-- Counting and clearing a generation without reading its bodies.
CREATE INDEX analysis_of_generation ON analysis (generation, audio_key);

-- The log that vector indexes follow, each index its own generation: one row a (track, generation, space), moved to a
-- new number when it changes; NULL bytes: gone.
CREATE TABLE generation_vector (
    track_id bigint NOT NULL REFERENCES track (track_id),
    generation text {bytewise} NOT NULL,
    space text {bytewise} NOT NULL,
    seq bigint NOT NULL,
    bytes bytea,
    PRIMARY KEY (track_id, generation, space),
    UNIQUE (generation, seq)
);

INSERT INTO generation_vector (track_id, generation, space, seq, bytes)
SELECT track_id, pack_hash, space, seq, bytes FROM vector;

DROP TABLE vector;

ALTER TABLE generation_vector RENAME TO vector;

-- Audio that could not be heard for a generation. `due_us`: when it is tried again; NULL: it was given up. `since_us`: when
-- it was first tried. `attempts` leaves out those after which there is nothing to do but to wait.
CREATE TABLE unheard (
    generation text {bytewise} NOT NULL,
    audio_key text {bytewise} NOT NULL,
    attempts bigint NOT NULL,
    reason text NOT NULL,
    due_us bigint,
    since_us bigint NOT NULL,
    updated_us bigint NOT NULL,
    PRIMARY KEY (generation, audio_key)
);

CREATE INDEX track_of_audio ON track (audio_key) WHERE audio_key IS NOT NULL;

-- What a verdict was decided on; both NULL when nothing had to be heard for it.
ALTER TABLE verdict ADD COLUMN audio_key text {bytewise};

ALTER TABLE verdict ADD COLUMN generation text {bytewise};

UPDATE verdict SET
    audio_key = (SELECT t.audio_key FROM track AS t WHERE t.uri = verdict.uri),
    generation = (SELECT g.generation FROM generation AS g WHERE g.state = 'serving')
WHERE EXISTS (
    SELECT 1 FROM track AS t JOIN analysis AS n ON n.audio_key = t.audio_key
    WHERE t.uri = verdict.uri
        AND (t.state IN ('ready', 'undecided') OR (t.state = 'refused' AND t.reason = 'self_label'))
);

-- How many of a job's attempts ended with nothing to do but to wait: they do not count when it is given up.
ALTER TABLE job ADD COLUMN waits bigint NOT NULL DEFAULT 0;
