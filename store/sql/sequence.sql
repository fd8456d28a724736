-- name: take(name, count)$
-- The last number of a run of `count`. The row stays locked to the end of the transaction, so runs commit in their order.
INSERT INTO counter (name, value) VALUES (:name, :count)
ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value
RETURNING value;

-- name: last(name)$
-- The newest number taken.
SELECT value FROM counter WHERE name = :name;

-- name: identity()$
-- When this database was made: tells its logs from those of another one.
SELECT applied_us FROM migration WHERE version = 1;
