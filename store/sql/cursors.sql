-- name: get(source)^
SELECT source, value, wall_us FROM cursor WHERE source = :source;

-- name: advance(source, value, wall_us)!
-- Only forward. The same value again refreshes the wall time: the source is alive.
INSERT INTO cursor (source, value, wall_us) VALUES (:source, :value, :wall_us)
ON CONFLICT (source) DO UPDATE SET value = excluded.value, wall_us = excluded.wall_us
WHERE excluded.value >= cursor.value;

-- name: forget(source)!
DELETE FROM cursor WHERE source = :source;
