CREATE TABLE crash (                    -- the breaker's window is cut from this
    service_id TEXT NOT NULL,
    position   INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (service_id, position)
) STRICT, WITHOUT ROWID;
