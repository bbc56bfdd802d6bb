CREATE TABLE disk (                     -- the disks that the platform is on, as they were last told
    name         TEXT PRIMARY KEY,
    level        TEXT NOT NULL,         -- ok, low, full
    used_percent INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
