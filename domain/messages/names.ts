import { z } from 'zod';
import { COMMIT, NODE_NAME, OPERATION_ID, RELEASE_VERSION, SHA256, STAGE_NAME, STORE_ID, TRAIN_ID } from '../naming.js';

/** Names as messages carry them. Each refuses with words that people understand, wherever it stands. */
export const storeId = z.string().regex(STORE_ID, 'is not a store id');
export const fleetName = z.string().regex(STORE_ID, 'is not a fleet name');
export const nodeName = z.string().regex(NODE_NAME, 'is not a node name');
export const trainId = z.string().regex(TRAIN_ID, 'is not a train id');
export const stageName = z.string().regex(STAGE_NAME, 'is not a stage name');
export const operationName = z.string().regex(OPERATION_ID, 'is not an operation id');
export const commitHash = z.string().regex(COMMIT, 'is not a full commit hash');
export const digest = z.string().regex(SHA256, 'is not a digest (sha256:…)');
export const releaseVersion = z.string().regex(RELEASE_VERSION, 'is not a release version (YYYY.WW.N)');
export const instant = z.iso.datetime({ error: 'is not an instant such as 2026-11-24T10:00:00Z' });
export const personSchema = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} .@_+:/-]*$/u, 'is not a name: letters, digits, spaces and . @ _ + : / - only');
