-- Runs of restore tests, and how each guest fared in them.
-- What became of a store in a run is a row of results: its train is the run, its stage is `restore`.

CREATE TABLE restore_runs (
  id         text PRIMARY KEY,
  fleet      text NOT NULL,
  state      text NOT NULL,
  summary    text,
  commit     text,
  stores     integer NOT NULL,
  guests     integer NOT NULL,
  tally      jsonb NOT NULL,
  started_at timestamptz NOT NULL,
  ended_at   timestamptz
);
CREATE INDEX restore_runs_by_start ON restore_runs (fleet, started_at DESC);

CREATE TABLE restore_tests (
  run         text NOT NULL,
  store       text NOT NULL,
  vmid        integer NOT NULL,
  fleet       text NOT NULL,
  name        text NOT NULL,
  class       text NOT NULL,
  tier        text NOT NULL,
  why         text NOT NULL,
  result      text NOT NULL,
  text        text,
  detail      jsonb,
  snapshot_at timestamptz,
  rto_ms      bigint,
  restore_ms  bigint,
  boot_ms     bigint,
  probe_ms    bigint,
  rpo_ms      bigint,
  bytes       bigint,
  tested_at   timestamptz NOT NULL,
  PRIMARY KEY (run, store, vmid)
);
CREATE INDEX restore_tests_by_guest ON restore_tests (store, vmid, tested_at DESC);
CREATE INDEX restore_tests_by_fleet ON restore_tests (fleet, tested_at DESC);
