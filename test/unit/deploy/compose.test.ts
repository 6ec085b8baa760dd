import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const dependency = z.object({ condition: z.enum(['service_healthy', 'service_completed_successfully']) });
const service = z.looseObject({
  image: z.string(),
  restart: z.string(),
  depends_on: z.record(z.string(), dependency).default({}),
  environment: z.record(z.string(), z.string()).default({}),
  secrets: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  command: z.array(z.string()).default([]),
  healthcheck: z.looseObject({ test: z.array(z.string()) }).optional(),
});
const composition = z.looseObject({
  services: z.record(z.string(), service),
  volumes: z.record(z.string(), z.null()),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
});

const compose = composition.parse(parseYaml(read('docker-compose.yml'), { merge: true }));
const services = Object.entries(compose.services);
const named = (name: string) => {
  const found = compose.services[name];
  if (!found) throw new Error(`There is no service ${name}.`);
  return found;
};

describe('the composition', () => {
  it('has the parts of a centre', () => {
    expect(Object.keys(compose.services)).toEqual([
      'postgres',
      'temporal-schema',
      'temporal',
      'temporal-namespace',
      'temporal-ui',
      'control',
      'release',
      'store',
    ]);
    expect(named('store')).toMatchObject({ profiles: ['store'] });
  });

  it.each(services)('%s runs a pinned image', (_name, { image }) => {
    expect(image).toMatch(/^[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
  });

  it.each(services)('%s waits for services that are there, and for health only where it is looked at', (_name, one) => {
    for (const [other, { condition }] of Object.entries(one.depends_on)) {
      if (condition === 'service_healthy') expect(named(other).healthcheck).toBeDefined();
      else expect(named(other).restart).toMatch(/^on-failure/);
    }
  });

  it.each(services)(
    '%s is given only secrets and volumes that are declared, and files that are there',
    (_name, one) => {
      for (const secret of one.secrets) expect(compose.secrets).toHaveProperty([secret]);
      for (const volume of one.volumes) {
        const source = volume.split(':')[0] ?? '';
        if (source.startsWith('./')) expect(existsSync(join(ROOT, source))).toBe(true);
        else if (!source.startsWith('$')) expect(compose.volumes).toHaveProperty([source]);
      }
    },
  );

  it.each(services)('%s has no secret in its environment, and is reached from this host alone', (_name, one) => {
    for (const [name, value] of Object.entries(one.environment)) {
      if (/PASSWORD|PWD|KEY/.test(name)) expect(value).toMatch(/^\/run\/secrets\//);
      expect(value).not.toMatch(/:\/\/[^/]*:[^/]*@/);
    }
    for (const port of one.ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it('gives the signing key to the release worker alone, and the account that writes the ledger to the control worker', () => {
    const holders = (secret: string) =>
      services.filter(([, one]) => one.secrets.includes(secret)).map(([name]) => name);
    expect(holders('release_key')).toEqual(['release']);
    expect(holders('ledger_db_password')).toEqual(['postgres', 'control']);
  });

  it('starts workers that are there', () => {
    for (const worker of ['control', 'release', 'store']) {
      const [program] = /dist\/workers\/[a-z]+\.js/.exec(named(worker).command.join(' ')) ?? [];
      expect(program).toBeDefined();
      expect(existsSync(join(ROOT, (program ?? '').replace('dist/', '').replace('.js', '.ts')))).toBe(true);
    }
  });
});

describe('what it brings along', () => {
  const scripts = readdirSync(join(ROOT, 'deploy')).filter((file) => file.endsWith('.sh'));
  it.each(scripts)('%s is a script that a shell can read', (script) => {
    expect(spawnSync('sh', ['-n', join(ROOT, 'deploy', script)], { encoding: 'utf8' })).toMatchObject({
      status: 0,
      stderr: '',
    });
  });

  it('the namespace gets every search attribute of the service', () => {
    const names = /for name in ([A-Za-z ]+);/.exec(read('deploy/temporal-namespace.sh'))?.[1]?.split(' ') ?? [];
    expect(names.toSorted()).toEqual(Object.values(SEARCH_ATTRIBUTES).toSorted());
  });

  it('the settings of the server are lists of values', () => {
    const settings = z.record(z.string(), z.array(z.object({ value: z.number() })).length(1));
    expect(Object.keys(settings.parse(parseYaml(read('deploy/temporal-dynamic-config.yaml'))))).toContain(
      'frontend.rps',
    );
  });
});
