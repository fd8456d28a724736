-- name: get(did)^
SELECT active, status FROM account WHERE did = :did;

-- name: said_us(did)$
SELECT said_us FROM account WHERE did = :did;

-- name: put(did, active, status, said_us, now_us)!
INSERT INTO account (did, active, status, said_us, updated_us) VALUES (:did, :active, :status, :said_us, :now_us)
ON CONFLICT (did) DO UPDATE SET
    active = excluded.active, status = excluded.status, updated_us = excluded.updated_us,
    said_us = coalesce(excluded.said_us, account.said_us);
