CREATE TABLE todo (                        -- intents without an outcome: the only queue there is
    intent           INTEGER PRIMARY KEY,  -- position of the event that asked for it
    type             TEXT NOT NULL,
    subject          TEXT NOT NULL,        -- what it is about, its stream mostly; one attempt at a time for each
    tenant_id        TEXT NOT NULL,
    deployment_id    TEXT NOT NULL,        -- that it is about, '' for none
    opened_us        INTEGER NOT NULL,
    due_us           INTEGER NOT NULL,     -- not to be attempted before
    attempt          INTEGER NOT NULL,     -- the last one that began, 0 for none
    forgiven         INTEGER NOT NULL,     -- attempts before an operator looked: they are not held against it
    first_attempt_us INTEGER,              -- deadlines count from here
    away_since_us    INTEGER,              -- since when the engine has been away
    away_us          INTEGER NOT NULL,     -- how long it was in all: deadlines rest meanwhile
    code             TEXT,                 -- why the last attempt did not end it
    parked           INTEGER NOT NULL
) STRICT;

CREATE INDEX todo_of_subject ON todo (subject, intent);
