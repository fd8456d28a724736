-- name: put(audio_key, generation, duration_seconds, speech, voice, minor, body, vectors, now_us)!
INSERT INTO analysis (audio_key, generation, duration_seconds, speech, voice, minor, body, vectors, created_us)
VALUES (:audio_key, :generation, :duration_seconds, :speech, :voice, :minor, :body, :vectors, :now_us)
ON CONFLICT (audio_key, generation) DO UPDATE SET
    duration_seconds = excluded.duration_seconds, speech = excluded.speech, voice = excluded.voice,
    minor = excluded.minor, body = excluded.body, vectors = excluded.vectors, created_us = excluded.created_us;

-- name: get(audio_key, generation)^
SELECT body, vectors FROM analysis WHERE audio_key = :audio_key AND generation = :generation;

-- name: shown(audio_key)^
-- What people see of an audio: of the generation that serves, else the newest.
SELECT n.generation, n.body, n.vectors FROM analysis AS n
LEFT JOIN generation AS g ON g.generation = n.generation
WHERE n.audio_key = :audio_key
ORDER BY CASE WHEN g.state = 'serving' THEN 0 ELSE 1 END, n.created_us DESC, n.generation
LIMIT 1;

-- name: forget_unused(audio_key)!
DELETE FROM analysis WHERE audio_key = :audio_key
    AND NOT EXISTS (SELECT 1 FROM track AS t WHERE t.audio_key = :audio_key);

-- name: note_crash(audio_key, now_us)$
INSERT INTO crash (audio_key, crashes, updated_us) VALUES (:audio_key, 1, :now_us)
ON CONFLICT (audio_key) DO UPDATE SET crashes = crash.crashes + 1, updated_us = excluded.updated_us
RETURNING crashes;

-- name: vectors_of(track_id)
SELECT generation, space, bytes FROM vector WHERE track_id = :track_id ORDER BY generation, space;

-- name: put_vector(track_id, generation, space, seq, bytes)!
INSERT INTO vector (track_id, generation, space, seq, bytes) VALUES (:track_id, :generation, :space, :seq, :bytes)
ON CONFLICT (track_id, generation, space) DO UPDATE SET seq = excluded.seq, bytes = excluded.bytes;

-- name: vector_log(generation, after_seq, limit)
SELECT seq, track_id, space, bytes FROM vector
WHERE generation = :generation AND seq > :after_seq ORDER BY seq LIMIT :limit;
