CREATE TABLE env (                      -- every value that was ever set: a deployment names the version it wants
    service_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    since      INTEGER NOT NULL,        -- version of the stream, inclusive
    until      INTEGER NOT NULL,        -- exclusive; the greatest integer while it is in force
    sealed     BLOB NOT NULL,
    PRIMARY KEY (service_id, key, since)
) STRICT, WITHOUT ROWID;

CREATE INDEX env_until ON env (service_id, until, key);  -- what is in force is found without what was
