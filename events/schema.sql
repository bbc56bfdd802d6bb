-- The log. Append only: what is here stays as it is, and triggers see to it.

CREATE TABLE stream (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE          -- noun-id: service-018f…
) STRICT;

CREATE TABLE event (
    position INTEGER PRIMARY KEY,      -- in the whole log, from 1, without a gap; assigned by the writer
    stream   INTEGER NOT NULL REFERENCES stream (id),
    version  INTEGER NOT NULL,         -- in the stream, from 1, without a gap
    type     TEXT NOT NULL,
    at_us    INTEGER NOT NULL,
    tenant   TEXT NOT NULL,            -- whose it is, '' for nobody's
    data     BLOB NOT NULL,            -- canonical JSON, the bytes that were hashed
    meta     BLOB NOT NULL,
    link     BLOB NOT NULL,            -- the chain's hash up to here
    UNIQUE (stream, version)
) STRICT;

CREATE INDEX event_of_tenant ON event (tenant, position);

-- What a command with an idempotency key was answered, for good; in the transaction of its events.
CREATE TABLE command (
    id             BLOB PRIMARY KEY,   -- keyed hash of principal, method, path and key
    fingerprint    BLOB NOT NULL,      -- keyed hash of the body
    first_position INTEGER NOT NULL,
    last_position  INTEGER NOT NULL,
    at_us          INTEGER NOT NULL,
    answer         BLOB NOT NULL       -- sealed
) STRICT, WITHOUT ROWID;

-- The secret that an answer carried, for a day.
CREATE TABLE command_secret (
    id            BLOB PRIMARY KEY REFERENCES command (id),
    expires_at_us INTEGER NOT NULL,
    answer        BLOB NOT NULL        -- sealed
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_is_not_changed   BEFORE UPDATE ON event   BEGIN SELECT raise(ABORT, 'events are never changed'); END;
CREATE TRIGGER event_is_not_dropped   BEFORE DELETE ON event   BEGIN SELECT raise(ABORT, 'events are never dropped'); END;
CREATE TRIGGER stream_is_not_changed  BEFORE UPDATE ON stream  BEGIN SELECT raise(ABORT, 'streams are never changed'); END;
CREATE TRIGGER stream_is_not_dropped  BEFORE DELETE ON stream  BEGIN SELECT raise(ABORT, 'streams are never dropped'); END;
CREATE TRIGGER command_is_not_changed BEFORE UPDATE ON command BEGIN SELECT raise(ABORT, 'commands are never changed'); END;
CREATE TRIGGER command_is_not_dropped BEFORE DELETE ON command BEGIN SELECT raise(ABORT, 'commands are never dropped'); END;
