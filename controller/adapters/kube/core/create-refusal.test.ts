import { expect, test } from 'vitest';
import { createRefusal } from './create-refusal.ts';

test.each<[number | undefined, string | undefined, string, string, boolean]>([
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2',
    'ExceededQuota',
    true,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: failed quota: small: must specify limits.memory for: runtime',
    'FailedQuota',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
    'LimitRange',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: [minimum cpu usage per Pod is 1, but request is 100m]',
    'LimitRange',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes',
    'PodSecurity',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: unable to create new content in namespace team because it is being terminated',
    'NamespaceTerminating',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: no PriorityClass with name high was found',
    'PriorityClassNotFound',
    false,
  ],
  [
    403,
    'Forbidden',
    'pods "a" is forbidden: error looking up service account team/x: serviceaccount "x" not found',
    'ServiceAccountNotFound',
    true,
  ],
  [
    403,
    'Forbidden',
    'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group ""',
    'Forbidden',
    false,
  ],
  [403, 'Forbidden', 'admission webhook "policy" denied the request', 'Forbidden', false],
  [
    422,
    'Invalid',
    'Pod "a" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "x"',
    'Invalid',
    false,
  ],
  [404, 'NotFound', 'namespaces "team" not found', 'NamespaceNotFound', false],
  [500, 'InternalError', 'failed calling webhook', 'InternalError', true],
  [undefined, undefined, 'connect ECONNREFUSED', 'FailedCreate', true],
])('%s %s %j is %s', (status, reason, message, code, isPassing) => {
  expect(createRefusal({ status, reason, message })).toEqual({ code, message, isPassing });
});
