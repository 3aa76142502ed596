import { join } from 'node:path';
import { expect, test } from 'vitest';
import { borderViolations, coreViolations, reachableFrom, readSources } from './imports.ts';

const sources = readSources(join(import.meta.dirname, '../..'));

test('every folder imports only what the architecture allows it', () => {
  expect(sources.length).toBeGreaterThan(20);
  expect(borderViolations(sources)).toEqual([]);
});

test('a planted import across a border is found', () => {
  const planted = {
    path: 'activator/planted.ts',
    text: "import { decide } from '../controller/core/decide.ts';",
  };
  expect(borderViolations([...sources, planted])).toEqual([
    'activator/planted.ts imports controller/core/decide.ts: activator may import contracts, process',
  ]);
});

test('every core is pure: no clock, no randomness, no I/O, no way outwards', () => {
  expect(sources.some(({ path }) => path.includes('/core/'))).toBe(true);
  expect(coreViolations(sources)).toEqual([]);
});

test.each([
  ['a clock', 'export const now = Date.now();'],
  ['randomness', 'export const dice = Math.random();'],
  ['a file', "import { readFileSync } from 'node:fs';"],
  ['an adapter', "import { x } from '../adapters/local/x.ts';"],
])('a planted %s in a core is found', (_what, text) => {
  expect(coreViolations([{ path: 'controller/core/planted.ts', text }])).toHaveLength(1);
});

test('the core of an adapter may know itself and the types of the wire, and not what talks to the API', () => {
  const planted = (path: string): unknown[] =>
    coreViolations([
      { path: 'controller/adapters/kube/core/planted.ts', text: `import type { X } from '${path}';` },
    ]);
  expect(planted('./near.ts')).toEqual([]);
  expect(planted('../api/wire.ts')).toEqual([]);
  expect(planted('../api/kube-client.ts')).toHaveLength(1);
  expect(planted('../config.ts')).toHaveLength(1);
  expect(planted('../../local/core/near.ts')).toHaveLength(1);
});

test('the activator holds no Kubernetes client and no code of controller or runtime', () => {
  const { files, packages } = reachableFrom('activator/main.ts', sources);
  expect(files.size).toBeGreaterThan(5);
  expect([...files].filter((path) => /^(controller|runtime|crds)\//.test(path))).toEqual([]);
  expect([...packages].sort()).toEqual(['pino', 'pino-pretty', 'prom-client', 'zod']);
});

test('the runtime holds no Kubernetes client and no code of controller or activator', () => {
  const { files, packages } = reachableFrom('runtime/main.ts', sources);
  expect(files.size).toBeGreaterThan(5);
  expect([...files].filter((path) => /^(controller|activator|crds)\//.test(path))).toEqual([]);
  expect([...packages]).not.toContain('@kubernetes/client-node');
});

test('a planted Kubernetes client in the activator is found', () => {
  const planted = { path: 'activator/main.ts', text: "import { Watch } from '@kubernetes/client-node';" };
  const { packages } = reachableFrom('activator/main.ts', [planted]);
  expect([...packages]).toEqual(['@kubernetes/client-node']);
});
