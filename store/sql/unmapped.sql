-- name: count(collection, path, kind, uri, now_us)$
UPDATE unmapped_field SET seen = seen + 1, example_uri = :uri, updated_us = :now_us
WHERE collection = :collection AND path = :path AND kind = :kind
RETURNING seen;

-- name: add(collection, path, kind, uri, now_us, max_fields)!
INSERT INTO unmapped_field (collection, path, kind, seen, example_uri, updated_us)
SELECT :collection, :path, :kind, 1, :uri, :now_us
WHERE (SELECT count(*) FROM unmapped_field WHERE collection = :collection) < :max_fields;

-- name: report()
SELECT collection, path, kind, seen, example_uri, updated_us FROM unmapped_field
ORDER BY collection, seen DESC, path, kind;
