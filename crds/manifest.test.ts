import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MAX_DOCUMENTS, MAX_MANIFEST_BYTES, type Manifest, parseManifest, readManifest } from './manifest.ts';

function parse(yaml: string, file = '/srv/service.yaml'): Manifest {
  return parseManifest(yaml, { file });
}

function service(name: string, extra = ''): string {
  return `apiVersion: serving.pilotlight.dev/v1alpha1
kind: InferenceService
metadata: {name: ${name}}
spec:
  predictor:
    model:
      modelFormat: {name: onnx}
      storageUri: file:models/m.onnx
${extra}`;
}

type Located = [path: string, message: string, line: number | undefined, column: number | undefined];

function problems(manifest: Manifest): Located[] {
  return manifest.documents.flatMap((document) =>
    document.state === 'invalid'
      ? document.problems.map(({ path, message, line, column }): Located => [path, message, line, column])
      : [],
  );
}

describe('several documents in a file', () => {
  it('are read with the kind, the namespace and the line of each', () => {
    const manifest = parse(`# a comment
---
${service('digits')}
---
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: team}
data: {AWS_ACCESS_KEY_ID: aWQ=}
stringData: {AWS_SECRET_ACCESS_KEY: secret}
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {A: "1"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
secrets: [{name: s3}]
`);
    expect(manifest.documents).toMatchObject([
      { state: 'valid', kind: 'InferenceService', source: { line: 3, documentIndex: 0 } },
      {
        state: 'valid',
        secret: {
          metadata: { namespace: 'team' },
          data: { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' },
        },
      },
      { state: 'valid', configMap: { metadata: { namespace: 'default' }, data: { A: '1' } } },
      { state: 'valid', serviceAccount: { secrets: [{ name: 's3' }] } },
    ]);
  });

  it.each([
    ['a wrong field', service('bad', '    minReplica: 1')],
    ['a quote that never ends', 'kind: "InferenceService'],
    ['a bracket that never ends', 'kind: [1, {a: 2'],
    ['a tab for indentation', 'kind: x\n\tname: y'],
    ['a key given twice', `${service('bad')}kind: ConfigMap`],
    ['an anchor that is not there', 'kind: *nowhere'],
    ['an unknown tag', 'kind: !mine x'],
    ['text alone', 'just text'],
    ['another kind', 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}'],
    ['no kind', 'a: 1'],
  ])('stand on their own: %s spoils only its own document', (_what, broken) => {
    const manifest = parse([service('first'), broken, service('last')].join('\n---\n'));
    expect(manifest.documents.map(({ state }) => state)).toEqual(['valid', 'invalid', 'valid']);
    for (const [, , line] of problems(manifest)) {
      expect(line).toBeGreaterThanOrEqual(10);
      expect(line).toBeLessThanOrEqual(10 + broken.split('\n').length);
    }
  });

  it('may not define one object twice', () => {
    const manifest = parse([service('digits'), service('digits')].join('---\n'));
    expect(manifest.documents.map(({ state }) => state)).toEqual(['valid', 'invalid']);
    expect(problems(manifest)).toEqual([
      ['metadata.name', 'InferenceService "digits" stands already at line 1 of this file', 12, 12],
    ]);
  });

  it('may come as one List', () => {
    const items = [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' }, dta: {} },
    ];
    const manifest = parse(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }, undefined, 2));
    expect(manifest.documents.map(({ state }) => state)).toEqual(['valid', 'invalid']);
    expect(problems(manifest)).toEqual([['items[1].dta', 'unknown field; did you mean "data"?', 18, 7]]);
  });
});

describe('a problem', () => {
  it('points at the line and column of its field', () => {
    expect(problems(parse(`---\n${service('a', '    minReplicas: "1"\n    env: []\n')}`))).toEqual([
      ['spec.predictor.minReplicas', 'expected a number, got "1"', 10, 5],
      ['spec.predictor.env', expect.stringContaining('did you mean spec.predictor.model.env or'), 11, 5],
    ]);
  });

  it('of a missing field points at what should hold it', () => {
    const yaml = service('a').replace('      modelFormat: {name: onnx}\n', '');
    expect(problems(parse(yaml))).toEqual([
      ['spec.predictor.model.modelFormat', 'required: expected a mapping', 6, 5],
    ]);
  });

  it('of an invalid document says whose document it is', () => {
    expect(parse(service('digits', '    foo: 1')).documents[0]).toMatchObject({
      state: 'invalid',
      kind: 'InferenceService',
      namespace: 'default',
      name: 'digits',
    });
  });

  it('with a Secret never shows a value', () => {
    const manifest = parse(`apiVersion: v1
kind: Secret
metadata: {name: s}
data: {A: "hunter2!"}
stringData: {B: 123456}
`);
    expect(problems(manifest).map(([path]) => path)).toEqual(['data.A', 'stringData.B']);
    expect(JSON.stringify(manifest)).not.toMatch(/hunter2|123456/);
  });

  it.each(['InferenceGraph', 'ServingRuntime'])('with kind %s says that it comes later', (kind) => {
    expect(problems(parse(`kind: ${kind}`))).toEqual([['kind', `not supported yet: kind ${kind}`, 1, 1]]);
  });

  it('with a mistyped kind names the one that may be meant', () => {
    expect(problems(parse('kind: InferenceServise'))[0]?.[1]).toContain('did you mean "InferenceService"?');
  });
});

describe('a file: URI', () => {
  it('that is relative counts from the folder of the manifest', () => {
    expect(parse(service('a')).documents[0]).toMatchObject({
      service: { spec: { predictor: { model: { storageUri: 'file:///srv/models/m.onnx' } } } },
    });
  });

  it('that is absolute stays as it is', () => {
    expect(parse(service('a').replace('file:models', 'file:///models')).documents[0]).toMatchObject({
      service: { spec: { predictor: { model: { storageUri: 'file:///models/m.onnx' } } } },
    });
  });
});

describe('warnings', () => {
  it('tell of a Namespace, which is not needed', () => {
    const manifest = parse(`apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n${service('a')}`);
    expect(manifest.documents).toHaveLength(1);
    expect(manifest.warnings).toMatchObject([{ path: 'kind', line: 2, column: 1, documentIndex: 0 }]);
  });

  it('tell on the local platform what only a cluster can do', () => {
    const yaml = service('a', '    nodeSelector: {disk: ssd}');
    expect(parse(yaml).warnings).toEqual([]);
    expect(parseManifest(yaml, { file: 'f', forLocalPlatform: true }).warnings).toMatchObject([
      { path: 'spec.predictor.nodeSelector', line: 9, message: expect.stringContaining('local platform') },
    ]);
  });
});

describe('anchors', () => {
  it('may be used and merged as in any YAML', () => {
    const manifest = parse(`apiVersion: v1
kind: ConfigMap
metadata: {name: &name settings}
data: {<<: {A: "1", B: "2"}, B: "3", C: *name}
`);
    expect(manifest.documents).toMatchObject([{ configMap: { data: { A: '1', B: '3', C: 'settings' } } }]);
  });

  it('that multiply the document are refused before they are expanded', () => {
    const levels = Array.from({ length: 30 }, (_unused, level) =>
      level === 0
        ? 'a0: &a0 [x, x, x]'
        : `a${level}: &a${level} [*a${level - 1}, *a${level - 1}, *a${level - 1}]`,
    );
    const yaml = service('a', `    affinity:\n${levels.map((line) => `      ${line}\n`).join('')}`);
    expect(problems(parse(yaml))).toEqual([['', expect.stringContaining('alias'), 1, 1]]);
  });
});

describe('a hostile file is refused in bounded time', () => {
  it.each([
    ['brackets without end', '['.repeat(MAX_MANIFEST_BYTES)],
    ['dashes without end', '- '.repeat(MAX_MANIFEST_BYTES / 2)],
    ['dashes without spaces', '-'.repeat(MAX_MANIFEST_BYTES)],
    ['question marks without end', '? '.repeat(MAX_MANIFEST_BYTES / 2)],
    [
      'indentation without end',
      Array.from({ length: 1_400 }, (_unused, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    ],
    ['more text than allowed', `a: ${'x'.repeat(MAX_MANIFEST_BYTES)}`],
    [
      'more items than allowed',
      JSON.stringify({ kind: 'List', items: Array.from({ length: MAX_DOCUMENTS + 1 }, () => ({})) }),
    ],
    ['more documents than allowed', 'a: 1\n---\n'.repeat(100 * MAX_DOCUMENTS)],
  ])('%s', (_what, text) => {
    const manifest = parse(text);
    expect(manifest.documents.length).toBeGreaterThan(0);
    expect(manifest.documents.every(({ state }) => state === 'invalid')).toBe(true);
  });

  it('any text gives documents or problems and never throws', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            'a: 1',
            '---',
            '- x',
            '[',
            '{',
            '"',
            '*a',
            '&a',
            '\t',
            '|',
            '%YAML',
            '!t',
            '...',
            '\uFEFF',
            'kind: InferenceService',
          ),
          { maxLength: 12 },
        ),
        (parts) => {
          for (const document of parse(parts.join('\n')).documents) {
            expect(document.state).toBe('invalid');
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('readManifest', () => {
  async function folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'manifest-'));
    onTestFinished(() => rm(path, { recursive: true }));
    return path;
  }

  it('reads a file, and one that is JSON', async () => {
    const path = await folder();
    await writeFile(join(path, 'a.yaml'), service('a'));
    await writeFile(
      join(path, 'b.json'),
      JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } }),
    );
    expect((await readManifest(join(path, 'a.yaml'))).documents).toMatchObject([{ state: 'valid' }]);
    expect((await readManifest(join(path, 'b.json'))).documents).toMatchObject([{ state: 'valid' }]);
  });

  it('makes one problem of a file that is not there, too large or not text', async () => {
    const path = await folder();
    await writeFile(join(path, 'large.yaml'), Buffer.alloc(MAX_MANIFEST_BYTES + 1, 'a'));
    await writeFile(join(path, 'binary.yaml'), Buffer.from([0xff, 0xfe, 0x00]));
    for (const file of ['none.yaml', 'large.yaml', 'binary.yaml', '.']) {
      const manifest = await readManifest(join(path, file));
      expect(manifest.documents).toMatchObject([{ state: 'invalid', problems: [{ path: '' }] }]);
    }
  });
});

describe('a StandbyPool', () => {
  const POOL = `apiVersion: serving.pilotlight.dev/v1alpha1
kind: StandbyPool
metadata: {name: small}
spec: {size: 3, perNode: 1}
`;

  it('is read like any other kind', () => {
    const { documents, warnings } = parse(POOL);
    expect(documents).toMatchObject([
      { state: 'valid', kind: 'StandbyPool', pool: { spec: { size: 3, cache: { kind: 'emptyDir' } } } },
    ]);
    expect(warnings).toEqual([]);
  });

  it('is a warning on the local platform that says what to do there, and no error', () => {
    const { documents, warnings } = parseManifest(POOL, { file: 'pool.yaml', forLocalPlatform: true });
    expect(documents[0]?.state).toBe('valid');
    expect(warnings).toMatchObject([
      {
        line: 2,
        message: expect.stringMatching(/^a StandbyPool has no effect on the local platform.*--standbys/),
      },
    ]);
  });

  it('with a slip is refused at its place', () => {
    expect(problems(parse(POOL.replace('perNode', 'pernode')))).toEqual([
      ['spec.pernode', 'unknown field; did you mean "perNode"?', 4, 17],
    ]);
  });

  it('refuses a pipe, and waits for nobody to write into it', async () => {
    const path = await mkdtemp(join(tmpdir(), 'manifest-'));
    onTestFinished(() => rm(path, { recursive: true }));
    const file = join(path, 'fifo.yaml');
    execFileSync('mkfifo', [file]);
    const { documents } = await readManifest(file);
    expect(documents).toMatchObject([{ problems: [{ message: 'expected a regular file' }] }]);
  });
});
