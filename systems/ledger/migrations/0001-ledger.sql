-- What happened. Each table has the natural key by which a repeated write finds its row.
-- Migrations only add: an older version of the service must be able to run on a newer schema.
-- No foreign keys: the record of a store must not be lost because that of its train is not there yet.

CREATE TABLE trains (
  id         text PRIMARY KEY,
  fleet      text NOT NULL,
  release    text,
  sequence   integer,
  manifest   text,
  commit     text,
  plan_hash  text,
  state      text NOT NULL,
  reason     text,
  summary    text,
  started_at timestamptz NOT NULL,
  ended_at   timestamptz
);
CREATE INDEX trains_by_start ON trains (started_at DESC);

CREATE TABLE stages (
  train      text NOT NULL,
  stage      text NOT NULL,
  position   integer NOT NULL,
  stores     integer NOT NULL,
  state      text NOT NULL,
  reason     text,
  commit     text,
  tally      jsonb NOT NULL,
  started_at timestamptz,
  ended_at   timestamptz,
  PRIMARY KEY (train, stage)
);

CREATE TABLE results (
  train          text NOT NULL,
  stage          text NOT NULL,
  store          text NOT NULL,
  round          integer NOT NULL,
  outcome        text NOT NULL,
  reason         text,
  summary        text,
  stop           jsonb,
  operation_id   text,
  release        text,
  nodes_patched  integer,
  nodes_rebooted integer,
  started_at     timestamptz,
  ended_at       timestamptz,
  recorded_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (train, stage, store, round)
);
CREATE INDEX results_by_store ON results (store, recorded_at DESC);
CREATE INDEX results_by_success ON results (ended_at DESC) WHERE outcome = 'succeeded';

CREATE TABLE approvals (
  train     text NOT NULL,
  stage     text NOT NULL,
  id        text NOT NULL,
  plan_hash text NOT NULL,
  decision  text NOT NULL,
  by_whom   text NOT NULL,
  via       text NOT NULL,
  comment   text,
  accepted  boolean NOT NULL,
  refusal   text,
  at        timestamptz NOT NULL,
  PRIMARY KEY (train, stage, id)
);
