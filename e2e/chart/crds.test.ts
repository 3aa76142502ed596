import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { staleFiles } from '../../charts/generate.ts';
import { run } from '../cluster/command.ts';
import { CHART, render } from './testing/helm.ts';
import { ofKind } from './testing/rendered.ts';

const SOURCE = join(CHART, '../../crds');

test('the chart’s CRDs are the generated ones', async () => {
  await run(process.execPath, [join(CHART, '../generate.ts'), '--check']);
});

test('a CRD that is missing, old or one too many in the chart is found', () => {
  const source = new Map([
    ['a.yaml', 'new'],
    ['b.yaml', 'same'],
    ['c.yaml', 'missing'],
  ]);
  const chart = new Map([
    ['a.yaml', 'old'],
    ['b.yaml', 'same'],
    ['d.yaml', 'left over'],
  ]);
  expect(staleFiles(source, chart)).toEqual({ write: ['a.yaml', 'c.yaml'], remove: ['d.yaml'] });
});

test('they are rendered as they were generated, and stay when the release goes', async () => {
  const files = (await readdir(SOURCE)).filter((name) => name.endsWith('.yaml'));
  const rendered = ofKind(await render(), 'CustomResourceDefinition');
  expect(files.length).toBeGreaterThan(0);
  expect(rendered).toHaveLength(files.length);
  for (const file of files) {
    const source = parse(await readFile(join(SOURCE, file), 'utf8')) as (typeof rendered)[number];
    const crd = rendered.find(({ metadata }) => metadata.name === source.metadata.name);
    expect(crd?.spec).toEqual(source.spec);
    expect(crd?.metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
    expect(crd?.metadata.labels).toMatchObject({ 'app.kubernetes.io/name': 'pilotlight' });
  }
});

test('they can be left to somebody else', async () => {
  expect(ofKind(await render({ crds: { install: false } }), 'CustomResourceDefinition')).toEqual([]);
});
