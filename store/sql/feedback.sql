-- name: turn(viewer, track_uri, wish)!
-- Whoever wanted the opposite of a track, in whichever feed, wants that no more.
DELETE FROM feedback WHERE viewer = :viewer AND track_uri = :track_uri AND wish <> :wish;

-- name: put(viewer, track_uri, feed, wish, at_us)!
INSERT INTO feedback (viewer, track_uri, feed, wish, at_us) VALUES (:viewer, :track_uri, :feed, :wish, :at_us)
ON CONFLICT (viewer, track_uri, feed) DO UPDATE SET wish = excluded.wish, at_us = excluded.at_us;

-- name: of_viewer(viewer, limit)
SELECT track_uri, feed, wish, at_us FROM feedback WHERE viewer = :viewer
ORDER BY at_us DESC, track_uri, feed
LIMIT :limit;

-- name: held()$
SELECT count(*) FROM feedback;

-- name: drop_beyond(viewer, keep)!
-- Of one viewer only the newest stay.
DELETE FROM feedback WHERE viewer = :viewer AND (track_uri, feed) NOT IN (
    SELECT f.track_uri, f.feed FROM feedback AS f WHERE f.viewer = :viewer
    ORDER BY f.at_us DESC, f.track_uri, f.feed
    LIMIT :keep
);

-- name: drop_oldest(count)!
DELETE FROM feedback WHERE (viewer, track_uri, feed) IN (
    SELECT viewer, track_uri, feed FROM feedback ORDER BY at_us, viewer, track_uri, feed LIMIT :count
);

-- name: forget(viewer)
DELETE FROM feedback WHERE viewer = :viewer RETURNING track_uri;

-- name: erase(before_us)
DELETE FROM feedback WHERE at_us < :before_us RETURNING track_uri;

-- name: drop_track(track_uri)!
DELETE FROM feedback WHERE track_uri = :track_uri;
