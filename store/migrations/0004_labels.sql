-- Labels as they are served: the JSON form, made once when a label is signed (queryLabels answers by joining these). NULL
-- for labels of before: `labels.complete` makes it at the next start.
ALTER TABLE label ADD COLUMN json text;

CREATE INDEX label_incomplete ON label (seq) WHERE json IS NULL;

-- What was replaced: all that a subject ever had, for those who ask about themselves.
CREATE INDEX label_superseded ON label (uri, seq) WHERE is_current = 0;

-- Whose turn it is among pending verdicts, the lowest first: retractions (0 and 1), then the rest (2 and 3), of each first
-- what a person has ruled on. So a long backlog is read in order, not sorted.
ALTER TABLE verdict ADD COLUMN turn smallint NOT NULL DEFAULT 3;

UPDATE verdict SET turn = 1 WHERE pending = 1 AND labels = '[]';

DROP INDEX verdict_pending;

CREATE INDEX verdict_pending ON verdict (turn, updated_us, uri) WHERE pending = 1;

-- What a person has said about the labels of one record, whatever is heard in it: `denied` are never live on it again,
-- `stated` are its artist's own (JSON lists of identifiers). No row: nobody said anything.
CREATE TABLE ruling (
    uri text {bytewise} PRIMARY KEY,
    denied text NOT NULL,
    stated text NOT NULL,
    updated_us bigint NOT NULL
);

-- What the operator keeps back: `uri` '*' stands for every record, `val` '*' for every value.
CREATE TABLE hold (
    uri text {bytewise} NOT NULL,
    val text {bytewise} NOT NULL,
    created_us bigint NOT NULL,
    PRIMARY KEY (uri, val)
);

-- What was reported. `uri` is the track that it is about, `subject` what was named (a post may stand for a track), `labels`
-- those that were live then, `denied` and `stated` what the words make of them (JSON lists of identifiers). Words and
-- sender are private, and erased (NULL) when their time is over. `digest` tells a report that is sent twice.
CREATE TABLE dispute (
    dispute_id {number} PRIMARY KEY,
    created_us bigint NOT NULL,
    state text NOT NULL,
    reporter text {bytewise},
    by_artist smallint NOT NULL,
    uri text {bytewise} NOT NULL,
    subject text {bytewise} NOT NULL,
    subject_cid text {bytewise},
    reason_type text NOT NULL,
    words text,
    digest text {bytewise} NOT NULL UNIQUE,
    labels text NOT NULL,
    denied text NOT NULL,
    stated text NOT NULL,
    decided_us bigint,
    decided_by text,
    decision text
);

CREATE INDEX dispute_of_track ON dispute (uri, dispute_id);

CREATE INDEX dispute_by_state ON dispute (state, dispute_id);

CREATE INDEX dispute_of_reporter ON dispute (reporter, created_us) WHERE reporter IS NOT NULL;

-- What still holds words or a sender, the oldest first.
CREATE INDEX dispute_to_erase ON dispute (created_us) WHERE reporter IS NOT NULL;

-- Service tokens of procedures that were used, until they expire (P122). `token` is a hash.
CREATE TABLE used_token (
    issuer text {bytewise} NOT NULL,
    token text {bytewise} NOT NULL,
    until_us bigint NOT NULL,
    PRIMARY KEY (issuer, token)
);

CREATE INDEX used_token_until ON used_token (until_us);

-- Who did what to labels and why. Rows are added, never changed. `actor` is who (private unless it is the operator),
-- `actor_kind` what they are: artist, listener, operator, service. `detail` is JSON.
CREATE TABLE action (
    action_id {number} PRIMARY KEY,
    at_us bigint NOT NULL,
    actor_kind text NOT NULL,
    actor text {bytewise},
    verb text NOT NULL,
    uri text {bytewise},
    did text {bytewise},
    reason text,
    detail text NOT NULL
);

CREATE INDEX action_on ON action (uri, action_id) WHERE uri IS NOT NULL;

CREATE INDEX action_about ON action (did, action_id) WHERE did IS NOT NULL;

-- Posts that carry the labels of a track.
CREATE TABLE mirror (
    post_uri text {bytewise} PRIMARY KEY,
    track_uri text {bytewise} NOT NULL,
    updated_us bigint NOT NULL
);

CREATE INDEX mirror_of_track ON mirror (track_uri);
