import { expect, test } from 'vitest';
import { parseInferenceService } from './schema.ts';

function parsed(transform: unknown) {
  const result = parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 's' },
    spec: { predictor: { model: { modelFormat: { name: 'onnx' }, storageUri: 's3://b/m', transform } } },
  });
  return result.ok
    ? result.service.spec.predictor.model?.transform
    : result.problems.map(({ path, message }) => `${path}: ${message}`);
}

test('code of a service has limits of its own where the manifest gives none', () => {
  expect(parsed({ module: 'transform.mjs' })).toEqual({
    module: 'transform.mjs',
    timeout: 5_000,
    memory: 256 * 1024 ** 2,
  });
});

test.each([
  ['../transform.mjs', 'module: expected a path of a module in the model'],
  ['/transform.mjs', 'module: expected a path of a module in the model'],
  ['a/./transform.mjs', 'module: expected a path of a module in the model'],
  ['a//transform.mjs', 'module: expected a path of a module in the model'],
  ['.hidden/../t.mjs', 'module: expected a path of a module in the model'],
  ['transform.ts', 'module: expected a path of a module in the model'],
])('%s is no module in the model’s folder', (module, problem) => {
  expect(parsed({ module })).toEqual([expect.stringContaining(problem)]);
});

test.each([
  [{ timeout: '2h' }, 'timeout: expected at most 1h'],
  [{ memory: '1Mi' }, 'memory: expected 32Mi to 64Gi'],
  [{ sha256: 'abc' }, 'sha256: expected 64 hexadecimal digits'],
  [{ modul: 'x' }, 'modul: unknown field; did you mean "module"?'],
])('%j is refused', (more, problem) => {
  expect(parsed({ module: 'transform.mjs', ...more })).toEqual([expect.stringContaining(problem)]);
});
