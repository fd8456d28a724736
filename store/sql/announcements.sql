-- name: put_wish(record_uri, did, said, mention, said_us, now_us)!
INSERT INTO announcement_wish (record_uri, did, said, mention, said_us, seen_us, checked_us)
VALUES (:record_uri, :did, :said, :mention, :said_us, :now_us, :now_us)
ON CONFLICT (record_uri) DO UPDATE SET checked_us = excluded.checked_us, mention = excluded.mention;

-- name: drop_wish(record_uri)!
DELETE FROM announcement_wish WHERE record_uri = :record_uri;

-- name: forget_idle(before_us)!
DELETE FROM announcement_wish WHERE said = 'nothing' AND seen_us < :before_us;

-- name: wishes()
-- What was said, the oldest first.
SELECT record_uri, did, said, mention, said_us, seen_us, checked_us FROM announcement_wish ORDER BY seen_us, record_uri;

-- name: plan(track_uri, did, album, thread, post_uri, now_us)!
INSERT INTO announcement (track_uri, did, album, thread, post_uri, post_cid, state, made_us)
VALUES (:track_uri, :did, :album, :thread, :post_uri, NULL, 'planned', :now_us)
ON CONFLICT (track_uri) DO NOTHING;

-- name: posted(track_uri, post_cid)!
UPDATE announcement SET state = 'posted', post_cid = :post_cid WHERE track_uri = :track_uri;

-- name: gone(track_uri)!
UPDATE announcement SET state = 'gone' WHERE track_uri = :track_uri;

-- name: of_artist(did)
-- Whatever became of them, the oldest first.
SELECT track_uri, did, album, thread, post_uri, post_cid, state, made_us
FROM announcement WHERE did = :did ORDER BY made_us, track_uri;

-- name: artists()
-- Whose posts stand, or are about to.
SELECT DISTINCT did FROM announcement WHERE state <> 'gone' ORDER BY did;

-- name: made_since(since_us)$
SELECT count(*) FROM announcement WHERE made_us > :since_us;
