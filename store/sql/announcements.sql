-- name: put_wish(record_uri, did, said, mention, said_us, now_us)!
INSERT INTO announcement_wish (record_uri, did, said, mention, said_us, seen_us, checked_us)
VALUES (:record_uri, :did, :said, :mention, :said_us, :now_us, :now_us)
ON CONFLICT (record_uri) DO UPDATE SET
    seen_us = CASE WHEN announcement_wish.said = excluded.said THEN announcement_wish.seen_us ELSE excluded.seen_us END,
    said = excluded.said, said_us = excluded.said_us, mention = excluded.mention, checked_us = excluded.checked_us;

-- name: drop_stops(did, upto_us)!
DELETE FROM announcement_wish WHERE did = :did AND said = 'stop' AND said_us <= :upto_us;

-- name: drop_wish(record_uri)!
DELETE FROM announcement_wish WHERE record_uri = :record_uri;

-- name: forget_idle(said, before_us)!
DELETE FROM announcement_wish WHERE said = :said AND seen_us < :before_us;

-- name: concern(did)$
-- Whether an artist asked for announcements, or had some.
SELECT did FROM announcement_wish WHERE did = :did AND said <> 'nothing'
UNION SELECT did FROM announcement WHERE did = :did LIMIT 1;

-- name: wishes()
-- What was said, the oldest first.
SELECT record_uri, did, said, mention, said_us, seen_us, checked_us FROM announcement_wish ORDER BY seen_us, record_uri;

-- name: wishes_of(did, limit)
-- What an account said, the newest first.
SELECT record_uri, did, said, mention, said_us, seen_us, checked_us FROM announcement_wish
WHERE did = :did ORDER BY seen_us DESC, record_uri LIMIT :limit;

-- name: plan(track_uri, did, album, thread, post_uri, now_us)!
INSERT INTO announcement (track_uri, did, album, thread, post_uri, post_cid, state, made_us)
VALUES (:track_uri, :did, :album, :thread, :post_uri, NULL, 'planned', :now_us)
ON CONFLICT (track_uri) DO NOTHING;

-- name: posted(track_uri, post_cid)!
UPDATE announcement SET state = 'posted', post_cid = :post_cid WHERE track_uri = :track_uri;

-- name: gone(track_uri)!
-- What the record said goes with it.
UPDATE announcement SET state = 'gone', album = NULL WHERE track_uri = :track_uri;

-- name: of_artist(did)
-- Whatever became of them, the oldest first.
SELECT track_uri, did, album, thread, post_uri, post_cid, state, made_us
FROM announcement WHERE did = :did ORDER BY made_us, track_uri;

-- name: of_track(track_uri)^
SELECT track_uri, did, album, thread, post_uri, post_cid, state, made_us FROM announcement WHERE track_uri = :track_uri;

-- name: artists()
-- Whose posts stand, or are about to.
SELECT DISTINCT did FROM announcement WHERE state <> 'gone' ORDER BY did;

-- name: made_since(since_us)$
SELECT count(*) FROM announcement WHERE made_us > :since_us;
