CREATE TABLE exec (                     -- commands that were run in an instance; what they said is not kept
    exec_id     TEXT PRIMARY KEY,
    service_id  TEXT NOT NULL,
    outcome     TEXT,                   -- NULL while it runs
    exit_code   INTEGER,
    truncated   INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX exec_running ON exec (service_id) WHERE outcome IS NULL;
