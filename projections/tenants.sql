CREATE TABLE tenant (
    tenant_id    TEXT PRIMARY KEY,
    name         BLOB,                  -- sealed; NULL once erased
    email        BLOB,                  -- sealed; NULL once erased
    email_index  BLOB UNIQUE,           -- keyed hash; NULL once erased
    label        TEXT NOT NULL UNIQUE,  -- never given again, so the row stays for good; a hash of it once erased
    subnet       TEXT NOT NULL,
    status       TEXT NOT NULL,         -- active, suspended, erased
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    suspended_at INTEGER,
    version      INTEGER NOT NULL,
    egress_subnet TEXT NOT NULL         -- '' where none was given
) STRICT, WITHOUT ROWID;

CREATE TABLE quota (                    -- only what the operator set; the rest is the platform's default
    tenant_id TEXT NOT NULL,
    name      TEXT NOT NULL,
    value     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;
