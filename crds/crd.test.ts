import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { crdFiles, inferenceServiceCrd, standbyPoolCrd } from './crd.ts';
import { crdPath, firstDifference } from './generate.ts';
import { parseInferenceService } from './schema.ts';
import { toStructural } from './structural-schema.ts';

type Node = Record<string, unknown>;

function* nodes(schema: Node, path = ''): Generator<[path: string, node: Node]> {
  yield [path, schema];
  for (const [name, child] of Object.entries(
    (schema['properties'] as Record<string, Node> | undefined) ?? {},
  )) {
    yield* nodes(child, `${path}.${name}`);
  }
  for (const keyword of ['items', 'additionalProperties']) {
    const child = schema[keyword];
    if (typeof child === 'object' && child !== null) yield* nodes(child as Node, `${path}[]`);
  }
}

function rootSchema(of: object = inferenceServiceCrd()): Node {
  const crd = of as { spec: { versions: { schema: { openAPIV3Schema: Node } }[] } };
  const schema = crd.spec.versions[0]?.schema.openAPIV3Schema;
  if (schema === undefined) throw new Error('no schema');
  return schema;
}

function at(...path: string[]): Node {
  let node = rootSchema();
  for (const name of path) node = (node['properties'] as Record<string, Node>)[name] ?? {};
  return node;
}

describe('the generated CRD', () => {
  it.each(Object.entries(crdFiles()))('%s is what is committed, in less than 200 KB', async (name, yaml) => {
    const committed = await readFile(crdPath(name), 'utf8');
    expect(firstDifference(committed, yaml)).toBeUndefined();
    expect(Buffer.byteLength(committed)).toBeLessThan(200_000);
  });

  it('is the same in YAML', () => {
    expect(Object.values(crdFiles()).map((yaml): unknown => parse(yaml))).toEqual([
      inferenceServiceCrd(),
      standbyPoolCrd(),
    ]);
  });

  it.each<[string, object, number]>([
    ['InferenceService', inferenceServiceCrd(), 200],
    ['StandbyPool', standbyPoolCrd(), 70],
  ])(
    'of %s is structural: every node has a type or is int-or-string, and holds nothing foreign',
    (_kind, crd, least) => {
      let count = 0;
      for (const [path, node] of nodes(rootSchema(crd))) {
        count += 1;
        const isIntOrString = node['x-kubernetes-int-or-string'] === true;
        expect(isIntOrString ? undefined : typeof node['type'], path).toBe(
          isIntOrString ? undefined : 'string',
        );
        expect(
          Object.keys(node).filter((key) => key.startsWith('x-pilotlight') || key.startsWith('$')),
          path,
        ).toEqual([]);
        expect(node['properties'] !== undefined && node['additionalProperties'] !== undefined, path).toBe(
          false,
        );
        expect(Math.abs(Number(node['maximum'] ?? 0)), path).toBeLessThan(Number.MAX_SAFE_INTEGER);
      }
      expect(count).toBeGreaterThan(least);
    },
  );

  it.each<[string, object]>([
    ['InferenceService', inferenceServiceCrd()],
    ['StandbyPool', standbyPoolCrd()],
  ])('of %s reads like documentation: every field has a sentence for kubectl explain', (_kind, crd) => {
    // The API server allows no description of metadata: it has its own.
    const silent = [...nodes(rootSchema(crd))].filter(
      ([path, node]) =>
        !['', '.metadata'].includes(path) &&
        !path.endsWith('[]') &&
        !/^.{3,}[.:)]$/s.test(String(node['description'])),
    );
    expect(silent.map(([path]) => path)).toEqual([]);
  });

  it.each([
    [['spec'], 'transformer', 'not supported yet: spec.transformer; leave it out'],
    [['spec', 'predictor'], 'logger', 'not supported yet: spec.predictor.logger; leave it out'],
    [
      ['spec', 'predictor', 'model'],
      'volumeMounts',
      'not supported yet: spec.predictor.model.volumeMounts; leave it out',
    ],
    [
      ['spec', 'predictor', 'scaling'],
      'schedules',
      'not supported yet: spec.predictor.scaling.schedules; leave it out',
    ],
  ])('refuses in %j the field %s by name', (parent, field, message) => {
    expect(at(...parent)['x-kubernetes-validations']).toContainEqual({
      rule: `!has(self.${field})`,
      message,
      fieldPath: `.${field}`,
      reason: 'FieldValueForbidden',
    });
  });

  it('says of other frameworks that only ONNX is supported', () => {
    expect(at('spec', 'predictor')['x-kubernetes-validations']).toContainEqual({
      rule: '!has(self.sklearn)',
      message: expect.stringMatching(/^only ONNX is supported: .*modelFormat/),
      fieldPath: '.sklearn',
      reason: 'FieldValueForbidden',
    });
  });

  it('has the defaults of the schema and preserves free pod fields', () => {
    expect(at('spec', 'predictor', 'scaling')['default']).toEqual({});
    expect(at('spec', 'predictor', 'scaling', 'stableWindow')).toMatchObject({
      type: 'string',
      default: '60s',
    });
    expect(at('spec', 'predictor', 'timeout')).toMatchObject({
      'x-kubernetes-int-or-string': true,
      default: 300,
    });
    expect(at('spec', 'predictor', 'affinity')).toEqual({
      description: expect.stringContaining('Affinity'),
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
    });
    expect(at('status', 'modelStatus', 'transitionStatus')['enum']).toContain('BlockedByFailedLoad');
  });

  it.each<[string, object, string, string[], string[]]>([
    [
      'InferenceService',
      inferenceServiceCrd(),
      'isvc',
      ['URL', 'Ready', 'State', 'Replicas', 'Revision', 'Age'],
      ['Wanted', 'Reason'],
    ],
    [
      'StandbyPool',
      standbyPoolCrd(),
      'pool',
      ['Size', 'Ready', 'Starting', 'Serving', 'Age'],
      ['Quarantined', 'Reason'],
    ],
  ])(
    'of %s has a status subresource and columns for kubectl get, more of them with -o wide',
    (_kind, crd, shortName, columns, wide) => {
      expect(crd).toMatchObject({
        spec: { names: { shortNames: [shortName] }, versions: [{ subresources: { status: {} } }] },
      });
      const { versions } = (
        crd as { spec: { versions: { additionalPrinterColumns: { name: string; priority?: number }[] }[] } }
      ).spec;
      const all = versions[0]?.additionalPrinterColumns ?? [];
      const named = (priority: number | undefined) =>
        all.filter((column) => column.priority === priority).map(({ name }) => name);
      expect(named(undefined)).toEqual(columns);
      expect(named(1)).toEqual(wide);
    },
  );

  it('says of a pool that one kind of cache is enough', () => {
    const cache = new Map(nodes(rootSchema(standbyPoolCrd()))).get('.spec.cache');
    expect(cache?.['x-kubernetes-validations']).toContainEqual({
      rule: expect.stringContaining('size() <= 1'),
      message: 'expected at most one of emptyDir, hostPath and persistentVolumeClaim',
    });
  });
});

describe('the same words from the API server and from a manifest', () => {
  const MODEL = { modelFormat: { name: 'onnx' }, storageUri: 'file:///m.onnx' };
  const EMPTY: Record<string, unknown> = { object: {}, array: [{}], string: 'x', integer: 1, boolean: true };

  /** Every rule of the CRD that refuses a field: where, and with which message. */
  function* refusals(): Generator<[path: string, message: string, value: unknown]> {
    for (const [path, node] of nodes(rootSchema())) {
      const rules =
        (node['x-kubernetes-validations'] as { rule: string; message: string }[] | undefined) ?? [];
      for (const { rule, message } of rules) {
        const field = /^!has\(self\.(\w+)\)$/.exec(rule)?.[1];
        if (field === undefined) continue;
        const child = (node['properties'] as Record<string, Node>)[field] ?? {};
        // Schedules are checked first and refused when they are right.
        const value =
          field === 'schedules' ? [{ cron: '0 8 * * *', minReplicas: 1 }] : EMPTY[String(child['type'])];
        yield [`${path.slice(1)}.${field}`, message, value];
      }
    }
  }

  function manifestWith(path: string, value: unknown): object {
    const predictor: Node = path.includes('.containers[]')
      ? { containers: [{ image: 'a', ports: [{ containerPort: 80 }], env: [{ name: 'A', valueFrom: {} }] }] }
      : path.includes('.onnx.')
        ? { onnx: { storageUri: MODEL.storageUri, env: [{ name: 'A', valueFrom: {} }] } }
        : { model: { ...MODEL, storage: { path: 'm' }, env: [{ name: 'A', valueFrom: {} }] } };
    const root: Node = {
      apiVersion: 'serving.pilotlight.dev/v1alpha1',
      kind: 'InferenceService',
      metadata: { name: 'a' },
      spec: { predictor },
    };
    let target = root;
    const segments = path.replaceAll('[]', '.0').split('.');
    for (const segment of segments.slice(0, -1)) {
      target[segment] ??= {};
      target = target[segment] as Node;
    }
    target[String(segments.at(-1))] = value;
    return root;
  }

  it.each([...refusals()])('refuse %s', (path, message, value) => {
    const result = parseInferenceService(manifestWith(path, value));
    const found = result.ok ? [] : result.problems.map((problem) => [problem.path, problem.message]);
    expect(found).toContainEqual([path.replaceAll('[]', '[0]'), message.replaceAll('[]', '[0]')]);
  });

  it('for more than fifty fields', () => {
    expect([...refusals()].length).toBeGreaterThan(50);
  });
});

describe('toStructural', () => {
  it('refuses what the API server would drop or reject', () => {
    expect(() => toStructural({ properties: { a: {} }, type: 'object' }, 'spec')).toThrow(
      'spec.a has no type',
    );
    expect(() => toStructural({ type: 'array' }, 'spec')).toThrow('spec has no items');
    expect(() => toStructural(z.toJSONSchema(z.union([z.string(), z.boolean()])), 'spec')).toThrow(
      'spec has no type',
    );
  });
});

describe('generate.ts', () => {
  const run = promisify(execFile);
  const script = new URL('generate.ts', import.meta.url).pathname;

  it('--check passes on what is committed', async () => {
    await expect(run(process.execPath, [script, '--check'])).resolves.toMatchObject({ stdout: '' });
  });

  it('refuses arguments that it does not know with exit code 2', async () => {
    await expect(run(process.execPath, [script, '--force'])).rejects.toMatchObject({ code: 2 });
  });

  it('shows the first line that differs', () => {
    expect(firstDifference('a\nb\n', 'a\nc\n')).toBe('line 2:\n- b\n+ c');
    expect(firstDifference('a\nb\n', 'a\n')).toContain('line 2');
    expect(firstDifference('', 'a')).toBe('line 1:\n- \n+ a');
  });
});
