-- Listening to the whole network: what is proven, what waits for its release, where a repository stands, what artists
-- wish, the signals of listeners, and walks through repositories that can be resumed.

-- `verified`: the record was seen in its account's signed tree. `feeds_min_seconds`: shorter tracks of this collection
-- stay out of music feeds.
ALTER TABLE track ADD COLUMN verified smallint NOT NULL DEFAULT 0;

ALTER TABLE track ADD COLUMN feeds_min_seconds double precision;

-- The newest time that a stream gave for what it said of the account; NULL: none did.
ALTER TABLE account ADD COLUMN said_us bigint;

CREATE INDEX track_of_page ON track (page_url) WHERE page_url IS NOT NULL;

CREATE INDEX link_of_account ON link (post_did);

-- Where the repository of an account that has tracks here stands (P145, P164). `rev` '' and `data` NULL: not yet known.
-- `state` is synchronised or desynchronised; a desynchronised one is walked when it is due. `doubted_us`: when it was last
-- found to be in doubt, `settled_us`: when a walk last dispelled that.
CREATE TABLE repo (
    did text {bytewise} PRIMARY KEY,
    rev text {bytewise} NOT NULL,
    data text {bytewise},
    state text NOT NULL,
    reason text,
    attempts bigint NOT NULL,
    due_us bigint NOT NULL,
    doubted_us bigint NOT NULL,
    settled_us bigint NOT NULL,
    updated_us bigint NOT NULL
);

-- Whoever has tracks already is followed too, and walked once: what these artists wish was never asked.
INSERT INTO repo (did, rev, data, state, reason, attempts, due_us, doubted_us, settled_us, updated_us)
SELECT did, '', NULL, 'desynchronised', 'upgraded', 0, 0, 0, 0, 0 FROM track WHERE state <> 'withdrawn' GROUP BY did;

CREATE INDEX repo_due ON repo (due_us) WHERE state = 'desynchronised';

-- What an artist says about being labelled, shown and listed: one row for each control record (profile, optout, block),
-- and one with the URI of the profile that was looked for when there is none. A deleted record says nothing any more.
-- `scope`: none, feeds or all.
CREATE TABLE wish (
    uri text {bytewise} PRIMARY KEY,
    did text {bytewise} NOT NULL,
    kind text NOT NULL,
    scope text NOT NULL,
    logged_in_only smallint NOT NULL,
    rev text {bytewise} NOT NULL,
    updated_us bigint NOT NULL
);

CREATE INDEX wish_of_account ON wish (did);

-- Likes, reposts and playlists, without who: `record_key` and `actor_key` are hashes, so that a deletion finds its row.
CREATE TABLE signal (
    record_key bytea NOT NULL,
    subject text {bytewise} NOT NULL,
    actor_key bytea NOT NULL,
    kind text NOT NULL,
    created_us bigint NOT NULL,
    PRIMARY KEY (record_key, subject)
);

CREATE INDEX signal_of_subject ON signal (subject, kind);

CREATE INDEX signal_of_actor ON signal (actor_key);

-- Pages of allowed hosts that posts link to, and the record each one names (R7). `uri` NULL: names none that we know.
CREATE TABLE page (
    url text {bytewise} PRIMARY KEY,
    uri text {bytewise},
    state text NOT NULL,
    attempts bigint NOT NULL,
    due_us bigint NOT NULL
);

CREATE INDEX page_due ON page (due_us) WHERE state = 'asking';

CREATE INDEX page_settled ON page (due_us) WHERE state = 'nothing';

CREATE INDEX page_of_track ON page (uri) WHERE uri IS NOT NULL;

-- Accounts whose posts link tracks of others, and since when each exists, so that fresh ones do not fill feeds. `born_us`
-- NULL: not known yet. `met_us`: when we first saw a link by them.
CREATE TABLE poster (
    did text {bytewise} PRIMARY KEY,
    born_us bigint,
    met_us bigint NOT NULL,
    attempts bigint NOT NULL,
    due_us bigint NOT NULL
);

CREATE INDEX poster_due ON poster (due_us) WHERE born_us IS NULL;

INSERT INTO poster (did, born_us, met_us, attempts, due_us)
SELECT post_did, NULL, min(seen_us), 0, 0 FROM link GROUP BY post_did;

-- When an index of links is to be asked about a track (POSTS.md section 3): at first, after an hour, a day, a week.
CREATE TABLE link_question (
    uri text {bytewise} PRIMARY KEY,
    asked bigint NOT NULL,
    due_us bigint NOT NULL
);

CREATE INDEX link_question_due ON link_question (due_us);

INSERT INTO link_question (uri, asked, due_us) SELECT uri, 0, 0 FROM track WHERE state <> 'withdrawn';

-- Posts that other records of a track's artist name as being about it (R3): each is proven before it counts.
CREATE TABLE named_post (
    uri text {bytewise} NOT NULL,
    post_uri text {bytewise} NOT NULL,
    PRIMARY KEY (uri, post_uri)
);

-- Walks through repositories, each a list of accounts that is worked off and survives a crash. `wanted`: what was asked
-- for, so that asking for it again goes on with it. `listing`: where the search for accounts stands, NULL when it is over.
-- `state` is running, done or limited; of a repository waiting, done or failed.
CREATE TABLE backfill (
    backfill_id {number} PRIMARY KEY,
    wanted text NOT NULL,
    state text NOT NULL,
    listing text,
    started_us bigint NOT NULL,
    finished_us bigint
);

CREATE TABLE backfill_repo (
    backfill_id bigint NOT NULL REFERENCES backfill (backfill_id),
    did text {bytewise} NOT NULL,
    state text NOT NULL,
    reason text,
    found bigint NOT NULL,
    changed bigint NOT NULL,
    withdrawn bigint NOT NULL,
    attempts bigint NOT NULL,
    due_us bigint NOT NULL,
    PRIMARY KEY (backfill_id, did)
);

CREATE INDEX backfill_repo_due ON backfill_repo (backfill_id, due_us) WHERE state = 'waiting';

-- Fields that records had and no mapping reads: what an operator may want to look at. No values are kept.
CREATE TABLE unmapped_field (
    collection text {bytewise} NOT NULL,
    path text {bytewise} NOT NULL,
    kind text NOT NULL,
    seen bigint NOT NULL,
    example_uri text NOT NULL,
    updated_us bigint NOT NULL,
    PRIMARY KEY (collection, path, kind)
);
