import { expect, test } from 'vitest';
import { resolvedService } from './testing/resolved-service.ts';
import { hasUserCode, transformProblem } from './user-code.ts';

const withCode = resolvedService('s', {
  namespace: 'team',
  model: { transform: { module: 't.mjs' } },
}).service;
const without = resolvedService('s', { namespace: 'team' }).service;

test.each([
  ['without code, wherever', without, [], true],
  ['with code, where nothing is allowed', withCode, [], false],
  ['with code, in another namespace than the allowed one', withCode, ['others'], false],
  ['with code, in its own namespace', withCode, ['others', 'team'], true],
  ['with code, where all may have it', withCode, ['*'], true],
])('a service %s: %#', (_what, service, allowed, isFine) => {
  expect(transformProblem(service, allowed, 'a setting') === undefined).toBe(isFine);
});

test('the refusal names field, namespace and setting', () => {
  expect(hasUserCode(withCode)).toBe(true);
  expect(transformProblem(withCode, [], 'allowTransforms')).toEqual({
    path: 'spec.predictor.model.transform',
    message: expect.stringMatching(/"team".*\(allowTransforms\)/),
  });
});
