-- name: put(uri, did, kind, scope, logged_in_only, rev, now_us)$
INSERT INTO wish (uri, did, kind, scope, logged_in_only, rev, updated_us)
VALUES (:uri, :did, :kind, :scope, :logged_in_only, :rev, :now_us)
ON CONFLICT (uri) DO UPDATE SET
    scope = excluded.scope, logged_in_only = excluded.logged_in_only, rev = excluded.rev,
    updated_us = excluded.updated_us
WHERE excluded.rev > wish.rev
RETURNING uri;

-- name: said(uri)$
SELECT scope FROM wish WHERE uri = :uri;

-- name: of_account(did)
SELECT scope, logged_in_only FROM wish WHERE did = :did ORDER BY uri;

-- name: profile_known(did)$
SELECT did FROM wish WHERE did = :did AND kind = 'profile' LIMIT 1;

-- name: all_logged_in_only()
SELECT DISTINCT did FROM wish WHERE logged_in_only = 1 ORDER BY did;

-- name: forget(did, before_rev)!
DELETE FROM wish WHERE did = :did AND rev < :before_rev AND kind <> 'report';
