-- How full the datastore is that holds a copy of a store, as its server last said. The second place has one for all
-- stores, so its rows say the same at different times.

CREATE TABLE datastores (
  store     text NOT NULL,
  place     text NOT NULL,
  fleet     text NOT NULL,
  total     bigint,
  used      bigint,
  still_bad bigint,
  read_at   timestamptz NOT NULL,
  PRIMARY KEY (store, place)
);
