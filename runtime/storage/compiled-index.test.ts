import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type CompiledForm,
  chooseForm,
  differencesOf,
  type EngineKey,
  formFolder,
  formId,
  indexPath,
  isOfIdentity,
  parseIndex,
  withForm,
} from './compiled-index.ts';

const engine: EngineKey = {
  format: 2,
  onnxRuntime: '1.30.0',
  provider: 'cpu',
  level: 'all',
  cpu: 'x64 avx avx2',
};
const sha = (digit: string): string => digit.repeat(64);

function form(changes: Partial<CompiledForm> = {}): CompiledForm {
  const original = [{ path: 'm.onnx', sizeBytes: 10, sha256: sha('a'), versions: ['"etag"', 'mtime:1'] }];
  const kind = 'optimised' as const;
  const files = [{ path: 'graph.onnx', sizeBytes: 5, sha256: sha('b') }];
  const made = { kind, engine, original, files, facts: {}, ...changes };
  return { id: formId(made), ...made };
}

test('index and forms lie in a hidden folder beside the model, which no layout looks into', () => {
  expect(indexPath('m.onnx')).toBe('.pilotlight/m.onnx.json');
  expect(indexPath('2/m.onnx')).toBe('2/.pilotlight/m.onnx.json');
  expect(formFolder('2/m.onnx', 'id')).toBe('2/.pilotlight/m.onnx/id');
});

test('what was written is read, and what is no index is none', () => {
  const index = withForm(undefined, form());
  expect(parseIndex(JSON.stringify(index))).toEqual(index);
  for (const text of ['', '<html>', '{}', '{"format":2,"forms":[]}'])
    expect(parseIndex(text)).toBeUndefined();
});

test.each(['../m', '/etc/passwd', 'a/../../b', 'C:/x'])(
  'an index that names a file outside is none: %s',
  (path) => {
    const index = withForm(undefined, form({ files: [{ path, sizeBytes: 1, sha256: sha('b') }] }));
    expect(parseIndex(JSON.stringify(index))).toBeUndefined();
  },
);

test('the form whose key fits is chosen; of others the nearest one’s differences are told, each part by its name', () => {
  const fits = form();
  const older = form({ engine: { ...engine, onnxRuntime: '1.29.1' } });
  const wider = form({ engine: { ...engine, onnxRuntime: '1.29.1', cpu: 'x64 avx avx2 avx512f' } });
  const all = { format: 1 as const, forms: [wider, older, fits] };
  expect(chooseForm(all, engine, () => true)).toEqual({ form: fits });
  expect(chooseForm({ format: 1, forms: [wider, older] }, engine, () => true)).toEqual({
    form: undefined,
    reason: 'ONNX Runtime differs: compiled with 1.29.1, here 1.30.0',
  });
  expect(chooseForm(all, engine, () => false)).toMatchObject({ reason: expect.stringContaining('original') });
  expect(differencesOf(wider.engine, { ...engine, cpu: 'x64 avx avx2 amx' })).toEqual([
    'ONNX Runtime differs: compiled with 1.29.1, here 1.30.0',
    "the CPU features differ: the form's machine has avx512f, this one has amx",
  ]);
});

test('an original is the same by size and by a version of either store, an ETag with or without its weak mark', () => {
  const identity = (sizeBytes: number, version: string) => ({
    files: [{ path: '1/m.onnx', sizeBytes, version }],
  });
  expect(isOfIdentity(form(), identity(10, '"etag"'))).toBe(true);
  expect(isOfIdentity(form(), identity(10, 'W/"etag"'))).toBe(true);
  expect(isOfIdentity(form(), identity(10, 'mtime:1'))).toBe(true);
  expect(isOfIdentity(form(), identity(11, '"etag"'))).toBe(false);
  expect(isOfIdentity(form(), identity(10, '"other"'))).toBe(false);
  expect(isOfIdentity(form(), { files: [{ path: '1/m.onnx', sizeBytes: 10 }] })).toBe(false);
  const two = { files: [...identity(10, '"etag"').files, { path: '1/w.bin', sizeBytes: 1, version: '"w"' }] };
  expect(isOfIdentity(form(), two)).toBe(false);
});

test('an index holds one form of a key, those of other machines beside it, and none of another original', () => {
  const engines = fc.record({
    onnxRuntime: fc.constantFrom('1.30.0', '1.31.0'),
    cpu: fc.constantFrom('a', 'b'),
  });
  const steps = fc.array(fc.record({ engine: engines, model: fc.constantFrom('a', 'b') }), { maxLength: 12 });
  fc.assert(
    fc.property(steps, (list) => {
      let index = withForm(undefined, form());
      for (const step of list) {
        const original = [{ path: 'm.onnx', sizeBytes: 10, sha256: sha(step.model), versions: [] }];
        const added = form({ engine: { ...engine, ...step.engine }, original });
        index = withForm(index, added);
        expect(index.forms[0]).toEqual(added);
        expect(new Set(index.forms.map(({ id }) => id)).size).toBe(index.forms.length);
        expect(new Set(index.forms.map((one) => one.original[0]?.sha256)).size).toBe(1);
      }
    }),
  );
});
