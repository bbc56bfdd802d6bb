CREATE TABLE database_backup (
    backup_id   TEXT PRIMARY KEY,
    database_id TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    intent      INTEGER NOT NULL,   -- position of what asks for the step that is under way, or was last
    status      TEXT NOT NULL,      -- pending verifying verified failed removing
    size        INTEGER,            -- of its file, in bytes
    sha256      TEXT,
    roles       BLOB,               -- sealed
    tables      INTEGER NOT NULL,   -- that were seen in it
    rows        INTEGER NOT NULL,
    keys        INTEGER NOT NULL,
    error_code  TEXT,
    error       BLOB,               -- sealed
    created_at  INTEGER NOT NULL,
    taken_at    INTEGER,
    finished_at INTEGER,
    version     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX database_backup_of_database ON database_backup (database_id, backup_id);
CREATE INDEX database_backup_of_tenant ON database_backup (tenant_id);
