-- Nights of backups, and the newest that is known of each guest's backups.
-- What became of a store in a night is a row of results: its train is the night, its stage is `backup`.

CREATE TABLE nights (
  id         text PRIMARY KEY,
  fleet      text NOT NULL,
  state      text NOT NULL,
  reason     text,
  summary    text,
  commit     text,
  stores     integer NOT NULL,
  tally      jsonb NOT NULL,
  opens      timestamptz,
  closes     timestamptz,
  started_at timestamptz NOT NULL,
  ended_at   timestamptz
);
CREATE INDEX nights_by_start ON nights (fleet, started_at DESC);

CREATE TABLE night_guests (
  night       text NOT NULL,
  store       text NOT NULL,
  vmid        integer NOT NULL,
  name        text NOT NULL,
  result      text NOT NULL,
  text        text,
  snapshot_at timestamptz,
  offsite     boolean,
  PRIMARY KEY (night, store, vmid)
);
CREATE INDEX night_guests_by_guest ON night_guests (store, vmid);

CREATE TABLE guest_backups (
  fleet                text NOT NULL,
  store                text NOT NULL,
  vmid                 integer NOT NULL,
  name                 text NOT NULL,
  kind                 text NOT NULL,
  tier                 text NOT NULL,
  rpo_local_ms         bigint NOT NULL,
  rpo_offsite_ms       bigint,
  local_proven_at      timestamptz,
  local_verified_at    timestamptz,
  local_size           bigint,
  encrypted            boolean,
  key_fingerprint      text,
  local_unproven_at    timestamptz,
  local_unproven_why   text,
  offsite_proven_at    timestamptz,
  offsite_verified_at  timestamptz,
  offsite_unproven_at  timestamptz,
  offsite_unproven_why text,
  first_seen           timestamptz NOT NULL,
  seen_at              timestamptz NOT NULL,
  read_local_at        timestamptz,
  read_offsite_at      timestamptz,
  gone_at              timestamptz,
  PRIMARY KEY (store, vmid)
);
