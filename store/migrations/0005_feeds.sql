-- Feeds: what viewers said about tracks in feeds of their own.

-- `viewer` is a hash under a secret that is not in this database; `wish` is less or more. Rows go when their time is over,
-- when the viewer asks for it, and with their track.
CREATE TABLE feedback (
    viewer bytea NOT NULL,
    track_uri text {bytewise} NOT NULL,
    feed text {bytewise} NOT NULL,
    wish text NOT NULL,
    at_us bigint NOT NULL,
    PRIMARY KEY (viewer, track_uri, feed)
);

CREATE INDEX feedback_of_track ON feedback (track_uri);

CREATE INDEX feedback_at ON feedback (at_us);

-- What feeds ask of an analysis besides its vectors, of all at once: shares 0..1 of speech, and how likely there is a
-- voice; whether the key is minor (0: major). NULL for what is not known, and for earlier versions of listening.
ALTER TABLE analysis ADD COLUMN speech double precision;

ALTER TABLE analysis ADD COLUMN voice double precision;

ALTER TABLE analysis ADD COLUMN minor smallint;

-- Languages that a post says it is in, as two or three letters with spaces between; '' for what says nothing, and for what
-- came before this.
ALTER TABLE link ADD COLUMN langs text NOT NULL DEFAULT '';

-- The newest likes, which feeds are ranked by.
CREATE INDEX signal_at ON signal (created_us);

-- Announcements: by which record of theirs artists want their tracks announced (`said` yes; asked, while they do not follow
-- our account), or do not any more (stop), or which was looked at and says neither (nothing); `record_uri` is the DID alone
-- where the operator's configuration says it.
CREATE TABLE announcement_wish (
    record_uri text {bytewise} PRIMARY KEY,
    did text {bytewise} NOT NULL,
    said text NOT NULL,
    mention smallint NOT NULL,
    said_us bigint NOT NULL,
    seen_us bigint NOT NULL,
    checked_us bigint NOT NULL
);

CREATE INDEX announcement_wish_of ON announcement_wish (did);

-- The post of a track, from the moment it was decided on (`state` planned), while it stands (posted), and after it was
-- taken back (gone): no track is announced twice. `thread`: it continues another one of its album.
CREATE TABLE announcement (
    track_uri text {bytewise} PRIMARY KEY,
    did text {bytewise} NOT NULL,
    album text,
    thread smallint NOT NULL,
    post_uri text {bytewise} NOT NULL,
    post_cid text,
    state text NOT NULL,
    made_us bigint NOT NULL
);

CREATE INDEX announcement_of ON announcement (did);

CREATE INDEX announcement_made ON announcement (made_us);

-- Feed records that the service has seen in its publisher's repository. One that is gone was taken away.
CREATE TABLE published_feed (
    uri text {bytewise} PRIMARY KEY
);
