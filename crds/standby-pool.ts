import { z } from 'zod';
import { fields, optional, quantity, refuse, text } from './fields.ts';
import { API_VERSION } from './inference-service.ts';
import { metadataSchema } from './metadata.ts';
import { podShape, processShape } from './pod-fields.ts';
import { type Problem, problemAt, toProblems } from './problems.ts';
import { conditionSchema } from './status.ts';
import { structureProblem } from './structure.ts';
import { suggest } from './suggest.ts';

/** StandbyPool: started, generic pods without a model, kept ready for the services of one namespace. */
export const POOL_KIND = 'StandbyPool';

/** Longest name of a pool: its pods add "-" and five characters and must stay a DNS label of 63. */
export const MAX_POOL_NAME_LENGTH = 57;

/** Kinds of volume that a pool's cache can lie on; all but `emptyDir` must be allowed by the operator. */
const CACHE_KINDS = ['emptyDir', 'hostPath', 'persistentVolumeClaim'] as const;

/** Where the models that a standby has loaded stay, in the parsed form. */
export type PoolCache =
  | { kind: 'emptyDir'; sizeLimitBytes?: number }
  | { kind: 'hostPath'; path: string }
  | { kind: 'persistentVolumeClaim'; claimName: string };

const cacheSchema = fields({
  emptyDir: optional(
    fields({
      sizeLimit: optional(quantity()).describe(
        'Most bytes that the cache may take on the node, such as 20Gi; the platform’s own limit when left out.',
      ),
    }),
  ).describe('A folder of each pod: lives as long as the pod, over any number of services. The default.'),
  hostPath: optional(
    fields({
      path: text()
        .regex(/^\/[^:]*$/, 'expected an absolute path without ":"')
        .refine((path) => !path.split('/').includes('..'), 'expected a path without ".."')
        .meta({
          pattern: '^/[^:]*$',
          'x-kubernetes-validations': [
            { rule: "!self.matches('(^|/)[.][.](/|$)')", message: 'expected a path without ".."' },
          ],
        })
        .describe('Absolute path of a folder that is there on each node and that user 65532 may write.'),
    }),
  ).describe(
    'A folder of the node, shared by all pods of the node and kept after them. Only where the operator allows it: Pod Security "baseline" and "restricted" refuse it.',
  ),
  persistentVolumeClaim: optional(
    fields({
      claimName: text(253)
        .regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/, 'expected the name of a PersistentVolumeClaim')
        .describe('A claim of the pool’s namespace, ReadWriteMany where pods run on several nodes.'),
    }),
  ).describe(
    'A volume that all pods of the pool share and that stays after them. Only where the operator allows it.',
  ),
})
  .superRefine((cache, context) => {
    const given = CACHE_KINDS.filter((kind) => cache[kind] !== undefined);
    if (given.length > 1) {
      const message = `expected at most one of ${CACHE_KINDS.join(', ')}, got ${given.join(' and ')}`;
      refuse(context, { refusal: 'message', message }, [given[1] ?? '']);
    }
  })
  .transform(({ emptyDir, hostPath, persistentVolumeClaim }): PoolCache => {
    if (hostPath !== undefined) return { kind: 'hostPath', path: hostPath.path };
    if (persistentVolumeClaim !== undefined)
      return { kind: 'persistentVolumeClaim', claimName: persistentVolumeClaim.claimName };
    const sizeLimitBytes = emptyDir?.sizeLimit;
    return { kind: 'emptyDir', ...(sizeLimitBytes !== undefined && { sizeLimitBytes }) };
  });

const { args: _args, ...environmentShape } = processShape;

export const poolSpecSchema = fields({
  size: z
    .int()
    .min(0)
    .max(1_000)
    .default(1)
    .describe('Pods without a model to keep ready. One that a service takes is replaced at once; 0: none.'),
  perNode: optional(z.int().min(1).max(110)).describe(
    'Most pods without a model on one node, so that a burst finds standbys on several. No bound when left out.',
  ),
  cache: cacheSchema
    .prefault({})
    .describe('Where models that were loaded once stay, for the next cold start.'),
  labels: optional(z.record(text(317), text(63))).describe('Labels of the pool’s pods.'),
  annotations: optional(z.record(text(317), text(65_536))).describe('Annotations of the pool’s pods.'),
  ...podShape,
  // After the pod's own, which knows resources of a whole pod and refuses them.
  ...environmentShape,
});

/** Counts and conditions of a pool; written by the controller, so it has no defaults. */
export const poolStatusSchema = z.object({
  observedGeneration: optional(z.int()).describe('Generation of the spec that this status speaks of.'),
  ready: z.int().min(0).describe('Pods that any service may take now.'),
  starting: z.int().min(0).describe('Pods that are on their way to ready.'),
  serving: z.int().min(0).describe('Pods of this pool that serve a model.'),
  quarantined: optional(z.int().min(0)).describe(
    'Pods that only the service that used them last may take for the moment.',
  ),
  conditions: optional(
    z
      .array(conditionSchema)
      .max(50)
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
  ).describe('Ready: the pool has its size, or the reason why it has not.'),
});
export type StandbyPoolStatus = z.infer<typeof poolStatusSchema>;

export const standbyPoolSchema = fields({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal(POOL_KIND),
  metadata: metadataSchema(MAX_POOL_NAME_LENGTH),
  spec: poolSpecSchema.prefault({}),
  status: optional(z.unknown()),
}).transform(({ status: _status, ...rest }) => rest);

/** A pool in its parsed form: defaults filled in, quantities as numbers. */
export type StandbyPool = z.output<typeof standbyPoolSchema>;
export type StandbyPoolSpec = StandbyPool['spec'];

export type PoolParseResult = { ok: true; pool: StandbyPool } | { ok: false; problems: Problem[] };

/** Validates a StandbyPool as it comes from a manifest or the API server and fills in its defaults. */
export function parseStandbyPool(value: unknown): PoolParseResult {
  const structure = structureProblem(value);
  if (structure !== undefined) return { ok: false, problems: [structure] };
  const version = (value as { apiVersion?: unknown } | null)?.apiVersion;
  if (typeof version === 'string' && version !== API_VERSION) {
    const near = suggest(version, [API_VERSION]);
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    const message = `expected "${API_VERSION}", got ${JSON.stringify(version.slice(0, 80))}${hint}`;
    return { ok: false, problems: [problemAt(['apiVersion'], message)] };
  }
  const parsed = standbyPoolSchema.safeParse(value, { reportInput: true });
  return parsed.success
    ? { ok: true, pool: parsed.data }
    : { ok: false, problems: toProblems(parsed.error.issues) };
}
