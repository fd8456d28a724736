-- name: add(dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, digest, labels, denied, stated)!
INSERT INTO dispute (
    dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, digest, labels,
    denied, stated
) VALUES (
    :dispute_id, :created_us, :state, :reporter, :by_artist, :uri, :subject, :subject_cid, :reason_type, :words, :digest,
    :labels, :denied, :stated
);

-- name: get(dispute_id)^
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE dispute_id = :dispute_id;

-- name: same(digest)^
-- The report that was sent before, if this one was.
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE digest = :digest;

-- name: since(reporter, since_us)$
SELECT count(*) FROM dispute WHERE reporter = :reporter AND created_us > :since_us;

-- name: page(before, limit)
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE dispute_id < :before ORDER BY dispute_id DESC LIMIT :limit;

-- name: page_in_state(state, before, limit)
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE state = :state AND dispute_id < :before ORDER BY dispute_id DESC LIMIT :limit;

-- name: of_track(uri, limit)
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE uri = :uri ORDER BY dispute_id DESC LIMIT :limit;

-- name: standing(uri, limit)
-- Those on a record that are in force: an artist's word at once, anybody else's when accepted. The newest first.
SELECT dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, labels, denied,
    stated, decided_us, decided_by, decision
FROM dispute WHERE uri = :uri AND (state = 'accepted' OR (state = 'open' AND by_artist = 1))
ORDER BY dispute_id DESC LIMIT :limit;

-- name: decide(dispute_id, state, decided_us, decided_by, decision)!
UPDATE dispute SET state = :state, decided_us = :decided_us, decided_by = :decided_by, decision = :decision
WHERE dispute_id = :dispute_id;

-- name: erase(before_us)
-- What tells who it was, and what they wrote. The number takes the digest's place: it could be tried out.
UPDATE dispute SET reporter = NULL, words = NULL, subject = uri, subject_cid = NULL,
    digest = 'erased ' || CAST(dispute_id AS text)
WHERE reporter IS NOT NULL AND created_us < :before_us
RETURNING dispute_id;
