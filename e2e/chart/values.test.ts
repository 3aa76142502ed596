import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isMap, parse, parseDocument } from 'yaml';
import { CHART, template, type Values } from './testing/helm.ts';

/** Wrong values, and what the message must say: where, and what was expected. */
const REFUSED: readonly [string, Values, RegExp][] = [
  ['an unknown value', { replicas: 2 }, /additional properties 'replicas' not allowed/],
  ['a value in the wrong place', { controller: { image: 'x' } }, /'\/controller'.*'image' not allowed/],
  ['a domain in capitals', { domain: 'Models.example.com' }, /'\/domain'.*does not match pattern/],
  ['a domain with a port', { domain: 'example.com:80' }, /'\/domain'/],
  ['a namespace that can be none', { namespaces: ['Team_A'] }, /'\/namespaces\/0'/],
  ['a namespace twice', { namespaces: ['a', 'a'] }, /'\/namespaces'.*items at 0 and 1 are equal/],
  ['a mode that is not', { directMode: 'always' }, /'\/directMode'.*'never', 'auto'/],
  ['no controller at all', { controller: { replicas: 0 } }, /'\/controller\/replicas'.*got 0, want 1/],
  ['replicas as text', { activator: { replicas: '2' } }, /'\/activator\/replicas'.*got string, want integer/],
  ['a drain that takes no time', { activator: { drainSeconds: 0 } }, /'\/activator\/drainSeconds'/],
  [
    'a drain longer than the activator takes',
    { activator: { drainSeconds: 4_000 } },
    /'\/activator\/drainSeconds'/,
  ],
  ['a digest that is none', { images: { control: { digest: 'sha256:abc' } } }, /'\/images\/control\/digest'/],
  [
    'an image with its tag',
    { images: { runtime: { repository: 'a/b:1' } } },
    /'\/images\/runtime\/repository'/,
  ],
  ['the tag latest', { images: { runtime: { tag: 'latest' } } }, /expected a fixed version, got "latest"/],
  [
    'a pull policy that is not',
    { images: { control: { pullPolicy: 'always' } } },
    /'\/images\/control\/pullPolicy'/,
  ],
  ['a quantity that is none', { runtime: { cacheSizeLimit: '10 GB' } }, /'\/runtime\/cacheSizeLimit'/],
  [
    'a CPU that is none',
    { controller: { resources: { requests: { cpu: 'some' } } } },
    /'\/controller\/resources\/requests\/cpu'/,
  ],
  ['a duration without unit', { quarantine: '30' }, /'\/quarantine'/],
  ['more standbys than a pool takes', { defaultPool: { size: 1_001 } }, /'\/defaultPool\/size'/],
  [
    'a misspelt toleration',
    { controller: { tolerations: [{ kye: 'a' }] } },
    /'\/controller\/tolerations\/0'.*'kye'/,
  ],
  [
    'a label that is no text',
    { controller: { podLabels: { a: 1 } } },
    /'\/controller\/podLabels\/a'.*want string/,
  ],
  [
    'a port beyond all ports',
    { networkPolicies: { apiServerPorts: [70_000] } },
    /'\/networkPolicies\/apiServerPorts\/0'/,
  ],
  [
    'a peer that would be everybody',
    { networkPolicies: { metricsFrom: [{}] } },
    /'\/networkPolicies\/metricsFrom\/0'/,
  ],
  ['a Secret’s name that is none', { tls: { existingSecret: 'My Secret' } }, /'\/tls\/existingSecret'/],
  ['a yes that is text', { crds: { install: 'yes' } }, /'\/crds\/install'.*want boolean/],
];

test.each(REFUSED)('%s is refused with its place', async (_title, values, message) => {
  const { code, stderr } = await template(values);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(message);
});

interface Schema {
  $ref?: string;
  type?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: unknown;
  $defs?: Record<string, Schema>;
}

test('schema and values.yaml know the same values, and the schema refuses all others', async () => {
  const schema = JSON.parse(await readFile(join(CHART, 'values.schema.json'), 'utf8')) as Schema;
  const values: unknown = parse(await readFile(join(CHART, 'values.yaml'), 'utf8'));
  const missing: string[] = [];
  const compare = (given: Schema, value: unknown, path: string): void => {
    const reference = given.$ref?.replace('#/$defs/', '');
    const own = reference === undefined ? given : (schema.$defs?.[reference] ?? {});
    if (own.properties === undefined) return;
    if (own.additionalProperties !== false) missing.push(`${path}: the schema lets others through`);
    // Fields of Kubernetes' own: their absence is a default.
    if (reference !== undefined && reference !== 'image') return;
    const known = Object.keys(own.properties).filter((name) => path !== '' || name !== 'global');
    const listed = Object.keys(value ?? {});
    missing.push(
      ...known.filter((name) => !listed.includes(name)).map((name) => `${path}/${name}: not in values.yaml`),
    );
    for (const [name, child] of Object.entries(own.properties)) {
      compare(child, (value as Record<string, unknown> | undefined)?.[name], `${path}/${name}`);
    }
  };
  compare(schema, values, '');
  expect(missing).toEqual([]);
});

test('every value at the top is explained', async () => {
  const { contents } = parseDocument(await readFile(join(CHART, 'values.yaml'), 'utf8'));
  expect(isMap(contents)).toBe(true);
  const text = await readFile(join(CHART, 'values.yaml'), 'utf8');
  const silent = Object.keys(parse(text) as object).filter((name) => {
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.startsWith(`${name}:`));
    // Above it, or above the first of its own values.
    return !lines[at - 1]?.startsWith('#') && !lines[at + 1]?.trim().startsWith('#');
  });
  expect(silent).toEqual([]);
});

test('chart and programs have the version of package.json', async () => {
  const chart: unknown = parse(await readFile(join(CHART, 'Chart.yaml'), 'utf8'));
  const { version } = JSON.parse(await readFile(join(CHART, '../../package.json'), 'utf8')) as {
    version: string;
  };
  expect(chart).toMatchObject({ version, appVersion: version });
});
