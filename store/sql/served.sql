-- name: of_subject(uri, src)
-- Current rows of one subject, in no order: there are not many.
SELECT seq, json FROM label WHERE uri = :uri AND src = :src AND is_current = 1;

-- name: few(low, high, src, cap)
-- Current rows of subjects low <= uri < high by their index, in no order; those of others without their text. `cap` rows
-- say that there may be more: then one of the next two is to be asked.
SELECT seq, CASE WHEN src = :src THEN json END FROM label WHERE uri >= :low AND uri < :high AND is_current = 1 LIMIT :cap;

-- name: range(low, high, after_seq, src, limit)
-- Current rows of subjects low <= uri < high by their index, then sorted: right when the range is not too wide. `+seq`
-- keeps the planner away from walking the whole log in order.
SELECT seq, json FROM label
WHERE uri >= :low AND uri < :high AND is_current = 1 AND +seq > :after_seq AND src = :src
ORDER BY +seq LIMIT :limit;

-- name: walk(low, high, after_seq, src, limit)
-- The same rows by walking the log: right when a good part of all rows is in the range.
SELECT seq, json FROM label
WHERE (uri || '') >= :low AND (uri || '') < :high AND is_current = 1 AND seq > :after_seq AND src = :src
ORDER BY seq LIMIT :limit;

-- name: all(after_seq, src, limit)
-- Every current row: the pattern `*`.
SELECT seq, json FROM label WHERE is_current = 1 AND seq > :after_seq AND src = :src ORDER BY seq LIMIT :limit;

-- name: width(low, high, cap)$
-- How many current rows a range has, counted up to `cap`.
SELECT count(*) FROM (
    SELECT 1 FROM label WHERE uri >= :low AND uri < :high AND is_current = 1 LIMIT :cap
) AS counted;

-- name: log(after_seq, limit)
-- The log as subscribers read it: every row, in order.
SELECT seq, src, json, sig, key_id FROM label WHERE seq > :after_seq ORDER BY seq LIMIT :limit;

-- name: signed_otherwise(src, key_id, after_seq, last_seq)
-- A stretch of the log for a key that has replaced another.
SELECT seq FROM label
WHERE seq > :after_seq AND seq <= :last_seq AND key_id <> :key_id AND src = :src ORDER BY seq;

-- name: resign(seq, sig, key_id, json)!
-- After a change of key: a new signature over the same bytes, `cts` and all (P41).
UPDATE label SET sig = :sig, key_id = :key_id, json = :json WHERE seq = :seq;
