import { request } from 'undici';
import { z } from 'zod';
import type { Guest } from '#domain/fleet.js';

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 100_000;
const metricsSchema = z.looseObject({
  latency_ms: z.number().min(0).optional(),
  cache_hit_percent: z.number().min(0).max(100).optional(),
});

/** Asks a guest's own health and metrics URLs. No answer, or a strange one, is not healthy. */
export async function probeGuest(
  guest: Guest,
): Promise<{ healthy: boolean; latencyMs?: number; cacheHitPercent?: number }> {
  const [healthy, metrics] = await Promise.all([isHealthy(guest), readMetrics(guest)]);
  return {
    healthy,
    ...(metrics?.latency_ms === undefined ? {} : { latencyMs: metrics.latency_ms }),
    ...(metrics?.cache_hit_percent === undefined ? {} : { cacheHitPercent: metrics.cache_hit_percent }),
  };
}

async function isHealthy({ health }: Guest): Promise<boolean> {
  if (!health) return true;
  const answer = await get(health).catch(() => undefined);
  return answer?.status === 200;
}

async function readMetrics({ metrics }: Guest): Promise<z.output<typeof metricsSchema> | undefined> {
  if (!metrics) return undefined;
  try {
    const { status, body } = await get(metrics);
    return status === 200 ? metricsSchema.parse(JSON.parse(body)) : undefined;
  } catch {
    return undefined;
  }
}

async function get(url: string): Promise<{ status: number; body: string }> {
  const { statusCode, body } = await request(url, {
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new Error(`${url} answers with more than ${MAX_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return { status: statusCode, body: Buffer.concat(chunks).toString('utf8') };
}
