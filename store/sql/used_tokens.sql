-- name: use(issuer, token, until_us)$
-- NULL when it was used before.
INSERT INTO used_token (issuer, token, until_us) VALUES (:issuer, :token, :until_us)
ON CONFLICT (issuer, token) DO NOTHING
RETURNING token;

-- name: drop_expired(now_us)!
DELETE FROM used_token WHERE until_us <= :now_us;

-- name: held()$
SELECT count(*) FROM used_token;

-- name: held_of(issuer, now_us)$
SELECT count(*) FROM used_token WHERE issuer = :issuer AND until_us > :now_us;

-- name: drop_soonest(count)!
-- Those that expire first.
DELETE FROM used_token WHERE (issuer, token) IN (
    SELECT issuer, token FROM used_token ORDER BY until_us, issuer, token LIMIT :count
);
