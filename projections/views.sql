CREATE TABLE checkpoint (         -- one row
    position     INTEGER NOT NULL,  -- the last event folded, 0 for none
    link         BLOB NOT NULL,     -- its link in the chain
    installation TEXT NOT NULL,
    fingerprint  TEXT NOT NULL      -- of the code and schema that the rows follow from
) STRICT;
