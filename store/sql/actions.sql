-- name: note(action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail)!
INSERT INTO action (action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail)
VALUES (:action_id, :at_us, :actor_kind, :actor, :verb, :uri, :did, :reason, :detail);

-- name: on_record(uri, before, limit)
SELECT action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail FROM action
WHERE uri = :uri AND action_id < :before ORDER BY action_id DESC LIMIT :limit;

-- name: about(did, before, limit)
SELECT action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail FROM action
WHERE did = :did AND action_id < :before ORDER BY action_id DESC LIMIT :limit;

-- name: page(before, limit)
SELECT action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail FROM action
WHERE action_id < :before ORDER BY action_id DESC LIMIT :limit;
