-- name: put(audio_key, pack_hash, duration_seconds, body, vectors, now_us)!
INSERT INTO analysis (audio_key, pack_hash, duration_seconds, body, vectors, created_us)
VALUES (:audio_key, :pack_hash, :duration_seconds, :body, :vectors, :now_us)
ON CONFLICT (audio_key, pack_hash) DO UPDATE SET
    duration_seconds = excluded.duration_seconds, body = excluded.body, vectors = excluded.vectors,
    created_us = excluded.created_us;

-- name: get(audio_key, pack_hash)^
SELECT body, vectors FROM analysis WHERE audio_key = :audio_key AND pack_hash = :pack_hash;

-- name: note_crash(audio_key, now_us)$
INSERT INTO crash (audio_key, crashes, updated_us) VALUES (:audio_key, 1, :now_us)
ON CONFLICT (audio_key) DO UPDATE SET crashes = crash.crashes + 1, updated_us = excluded.updated_us
RETURNING crashes;

-- name: vectors_of(track_id)
SELECT space, pack_hash, bytes FROM vector WHERE track_id = :track_id ORDER BY space;

-- name: put_vector(track_id, space, seq, pack_hash, bytes)!
INSERT INTO vector (track_id, space, seq, pack_hash, bytes) VALUES (:track_id, :space, :seq, :pack_hash, :bytes)
ON CONFLICT (track_id, space) DO UPDATE SET
    seq = excluded.seq, pack_hash = excluded.pack_hash, bytes = excluded.bytes;

-- name: vector_log(after_seq, limit)
SELECT seq, track_id, space, bytes FROM vector WHERE seq > :after_seq ORDER BY seq LIMIT :limit;
