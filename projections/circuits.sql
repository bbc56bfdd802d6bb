CREATE TABLE circuit (                  -- open circuits, until they are closed or reset
    service_id TEXT PRIMARY KEY,
    trials     INTEGER NOT NULL,        -- how often it was tried since it was last closed
    since_us   INTEGER NOT NULL,        -- when it was opened or last tried
    try_at_us  INTEGER NOT NULL         -- when it may be tried next
) STRICT, WITHOUT ROWID;
