-- A stage that people let go on without proof is done, and its release is nobody's last good one.
ALTER TABLE results ADD COLUMN confirmed_at timestamptz;
UPDATE results SET confirmed_at = coalesce(results.ended_at, results.recorded_at)
  FROM stages
 WHERE stages.train = results.train AND stages.stage = results.stage AND stages.state = 'done'
   AND results.outcome = 'succeeded' AND results.stage <> 'rollback';
