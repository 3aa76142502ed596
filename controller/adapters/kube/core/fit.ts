import { claimOf } from '../../../../crds/claims.ts';
import type { InferenceService } from '../../../../crds/inference-service.ts';
import type { ModelSpec } from '../../../../crds/model.ts';
import type { EnvVar } from '../../../../crds/pod-fields.ts';
import { formatQuantity } from '../../../../crds/quantities.ts';
import { canonicalJson } from '../../../../crds/revision-spec.ts';
import type { StandbyPoolSpec } from '../../../../crds/standby-pool.ts';
import { storeOf, TRAVELLING_VARIABLES } from '../../../../crds/storage-access.ts';
import type { StandbyFit } from '../../../ports.ts';
import { claimsOf, effectiveResources } from './pod-spec.ts';
import { cacheProblem } from './pool-status.ts';
import type { KubeSettings } from './settings.ts';

/**
 * Whether the standbys of a pool can take a revision. A standby is a pod already: its environment, identity, place
 * and size stay as they are. So what a service says must be so for the pool's pods, and what it leaves open the
 * pool decides, except where saying nothing has a meaning of its own: the service account and its token (none),
 * and devices (none).
 */

type Predictor = InferenceService['spec']['predictor'];

export interface FitInput {
  readonly predictor: Predictor & { model: ModelSpec };
  readonly pool: StandbyPoolSpec;
  readonly settings: Pick<KubeSettings, 'runtimeResources'>;
  /** Size of the model's files, once they were resolved. */
  readonly weightsBytes?: number | undefined;
  /** The credentials of the model's store travel with the claim, or it wants none. */
  readonly carriesCredentials?: boolean | undefined;
}

interface Row {
  /** What is compared, as the table of the documentation names it. */
  readonly subject: string;
  /** Paths of the fields that don't fit. */
  readonly misfits: (input: FitInput) => readonly string[];
}

/** Pod fields that, where a service gives them, the pool must give just the same. */
const SAME_IF_GIVEN = {
  'node placement': [
    'affinity',
    'topologySpreadConstraints',
    'schedulerName',
    'preemptionPolicy',
    'overhead',
  ],
  volumes: ['volumes'],
  'security context': ['securityContext'],
  'priority class': ['priorityClassName'],
  'runtime class': ['runtimeClassName'],
  network: ['dnsConfig', 'dnsPolicy', 'hostAliases', 'readinessGates', 'enableServiceLinks'],
} as const satisfies Record<string, readonly (keyof StandbyPoolSpec & keyof Predictor)[]>;

/** The table: a standby fits when no row names a field. */
export const FIT_TABLE: readonly Row[] = [
  {
    subject: 'service account',
    misfits: accountMisfits,
  },
  { subject: 'claim of the model', misfits: claimMisfits },
  { subject: 'env', misfits: envMisfits },
  {
    subject: 'node placement',
    misfits: ({ predictor, pool }) => [
      // A pool may narrow the choice of nodes further: its pods stand on nodes that the service takes too.
      ...field(isWithin(predictor.nodeSelector, pool.nodeSelector), 'nodeSelector'),
      ...field(areAllIn(predictor.tolerations, pool.tolerations), 'tolerations'),
    ],
  },
  {
    subject: 'pull secrets',
    misfits: ({ predictor, pool }) =>
      field(areAllIn(predictor.imagePullSecrets, pool.imagePullSecrets), 'imagePullSecrets'),
  },
  ...Object.entries(SAME_IF_GIVEN).map(
    ([subject, names]): Row => ({
      subject,
      misfits: ({ predictor, pool }) =>
        names.flatMap((name) =>
          field(predictor[name] === undefined || isSame(predictor[name], pool[name]), name),
        ),
    }),
  ),
  {
    subject: 'grace period',
    misfits: ({ predictor, pool }) =>
      field(
        (predictor.terminationGracePeriodSeconds ?? 0) <=
          (pool.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS),
        'terminationGracePeriodSeconds',
      ),
  },
  {
    subject: 'labels and annotations that are read when a pod is created',
    misfits: ({ predictor, pool }) => [
      ...field(isWithin(atAdmission(predictor.labels), pool.labels), 'labels'),
      ...field(isWithin(atAdmission(predictor.annotations), pool.annotations), 'annotations'),
    ],
  },
  { subject: 'resources', misfits: resourceMisfits },
  { subject: 'size of the model', misfits: sizeMisfits },
];

/** Of a standby whose pool says nothing. */
const DEFAULT_GRACE_SECONDS = 600;

/**
 * Paths of the fields that keep the pool's standbys from taking a revision; none: they fit.
 *
 * @param known What was found out about the model and its store.
 */
export function misfits(
  predictor: Predictor,
  pool: StandbyPoolSpec,
  settings: Pick<KubeSettings, 'runtimeResources'>,
  known: Pick<FitInput, 'weightsBytes' | 'carriesCredentials'> = {},
): readonly string[] {
  if (predictor.model === undefined) return ['spec.predictor.containers'];
  const input: FitInput = { predictor, pool, settings, ...known };
  return FIT_TABLE.flatMap((row) => row.misfits(input));
}

export interface PoolChoice {
  readonly key: string;
  readonly spec: StandbyPoolSpec;
}

/**
 * The pools of a namespace whose standbys can take a revision: those that keep standbys before those that start
 * them on demand, then the one with the least memory and CPU. Where none fits, the fields that keep the nearest.
 */
export function fitAmong(
  predictor: Predictor,
  pools: Iterable<PoolChoice>,
  settings: Pick<KubeSettings, 'runtimeResources' | 'allowCache'>,
  known: Pick<FitInput, 'weightsBytes' | 'carriesCredentials'> = {},
): StandbyFit {
  const fitting: PoolChoice[] = [];
  let nearest: readonly string[] | undefined;
  for (const pool of pools) {
    // It has no pods and gets none.
    if (cacheProblem(pool.spec, settings) !== undefined) continue;
    const found = misfits(predictor, pool.spec, settings, known);
    if (found.length === 0) fitting.push(pool);
    if (nearest === undefined || found.length < nearest.length) nearest = found;
  }
  if (fitting.length > 0) {
    const ranked = fitting.map((pool) => ({ key: pool.key, rank: rankOf(pool, settings) }));
    ranked.sort((left, right) => compareRanks(left.rank, right.rank) || (left.key < right.key ? -1 : 1));
    return { pools: ranked.map(({ key }) => key), misfits: [] };
  }
  if (predictor.model === undefined) return { pools: [], misfits: ['spec.predictor.containers'] };
  return { pools: [], misfits: nearest ?? ['the namespace having no StandbyPool'] };
}

function rankOf({ spec }: PoolChoice, settings: Pick<KubeSettings, 'runtimeResources'>): number[] {
  const { requests, limits } = effectiveResources(spec.resources, settings.runtimeResources);
  const amount = (name: string): number => requests[name] ?? limits[name] ?? 0;
  return [spec.size > 0 ? 0 : 1, amount('memory'), amount('cpu')];
}

function compareRanks(left: readonly number[], right: readonly number[]): number {
  for (const [index, value] of left.entries()) {
    const difference = value - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function field(fits: boolean, name: string): string[] {
  return fits ? [] : [`spec.predictor.${name}`];
}

function accountOf({ serviceAccountName }: { serviceAccountName?: string }): string {
  return serviceAccountName ?? 'default';
}

function mountsToken(of: { serviceAccountName?: string; automountServiceAccountToken?: boolean }): boolean {
  return of.automountServiceAccountToken ?? of.serviceAccountName !== undefined;
}

/**
 * An account that is there to hold the store's Secrets, as in KServe, has done its part when they were read: any
 * pool will do. One whose own identity is wanted needs a pool that has it; so does a service that says that it
 * mounts the account's token.
 */
function accountMisfits({ predictor, pool, carriesCredentials }: FitInput): string[] {
  const isForSecrets =
    carriesCredentials === true &&
    predictor.serviceAccountName !== undefined &&
    predictor.automountServiceAccountToken === undefined;
  if (isForSecrets) return [];
  return [
    ...field(accountOf(predictor) === accountOf(pool), 'serviceAccountName'),
    ...field(mountsToken(predictor) === mountsToken(pool), 'automountServiceAccountToken'),
  ];
}

/** A claim is mounted when a pod starts: a pool has it where its volumes name it. */
function claimMisfits({ predictor: { model }, pool }: FitInput): string[] {
  const claim = claimOf(model.storageUri)?.claim;
  return field(claim === undefined || claimsOf(pool).includes(claim), 'model.storageUri');
}

function envMisfits({ predictor: { model }, pool }: FitInput): string[] {
  const store = storeOf(model.storageUri ?? '');
  const travelling: readonly string[] =
    store === undefined || store === 'http' ? [] : TRAVELLING_VARIABLES[store];
  const own = model.env.filter(({ name }) => !travelling.includes(name));
  const hasSources = model.envFrom.length > 0;
  // A value may stand for other variables, and what a Secret brings gives way to those that are declared beside
  // it: then the variables must be the same all together.
  const isWhole = hasSources || own.some(({ value }) => value?.includes('$(') === true);
  const isEnvSame = isWhole
    ? isSame(model.env, pool.env)
    : own.every(({ name }) => isSame(lastOf(own, name), lastOf(pool.env, name)));
  return [
    ...(isEnvSame ? [] : ['spec.predictor.model.env']),
    ...(!hasSources || isSame(model.envFrom, pool.envFrom) ? [] : ['spec.predictor.model.envFrom']),
  ];
}

/** The variable of this name that counts. */
function lastOf(env: readonly EnvVar[], name: string): EnvVar | undefined {
  return env.findLast((variable) => variable.name === name);
}

/** Keys that webhooks and network plugins act upon when a pod is created, when it is too late for a standby. */
const AT_ADMISSION =
  /^(azure\.workload\.identity|sidecar\.istio\.io|linkerd\.io|config\.linkerd\.io|vault\.hashicorp\.com|k8s\.v1\.cni\.cncf\.io|sidecar\.opentelemetry\.io|instrumentation\.opentelemetry\.io)\//;

function atAdmission(keys: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(keys).filter(([key]) => AT_ADMISSION.test(key)));
}

/** Resources that are shares of a node; any other name is a device, of which more is no help and less a waste. */
const SHARES = new Set(['cpu', 'memory', 'ephemeral-storage']);

function resourceMisfits({ predictor: { model }, pool, settings }: FitInput): string[] {
  const has = effectiveResources(pool.resources, settings.runtimeResources);
  const wants = model.resources;
  const path = 'spec.predictor.model.resources';
  const wrong: string[] = [];
  for (const name of SHARES) {
    // What has a limit alone requests as much.
    const wanted = wants.requests[name] ?? wants.limits[name] ?? 0;
    const given = has.requests[name] ?? has.limits[name] ?? 0;
    const isByLimit = wants.requests[name] === undefined;
    if (given < wanted) wrong.push(`${path}.${isByLimit ? 'limits' : 'requests'}.${name}`);
  }
  for (const [name, amount] of Object.entries(wants.limits)) {
    // A standby without a limit may use what the node has.
    const given = has.limits[name] ?? Number.POSITIVE_INFINITY;
    if (SHARES.has(name) && given < amount) wrong.push(`${path}.limits.${name}`);
  }
  const devices = new Set([...devicesOf(wants), ...devicesOf(has)]);
  for (const name of devices) {
    const wanted = wants.limits[name] ?? wants.requests[name] ?? 0;
    if (wanted !== (has.limits[name] ?? has.requests[name] ?? 0)) wrong.push(`${path}.limits.${name}`);
  }
  return [...new Set(wrong)];
}

function devicesOf(resources: { requests: object; limits: object }): string[] {
  return [...Object.keys(resources.requests), ...Object.keys(resources.limits)].filter(
    (name) => !SHARES.has(name),
  );
}

/** For the process without a model, request bodies, and the buffers of a run. */
export const WORKING_SET_BYTES = 256 * 2 ** 20;

function sizeMisfits({ pool, settings, weightsBytes }: FitInput): string[] {
  const limitBytes = effectiveResources(pool.resources, settings.runtimeResources).limits['memory'];
  if (weightsBytes === undefined || limitBytes === undefined) return [];
  if (limitBytes >= weightsBytes + WORKING_SET_BYTES) return [];
  const size = `${Math.ceil(weightsBytes / 2 ** 20)}Mi`;
  return [`the model’s size (${size} of weights, a standby has ${formatQuantity(limitBytes)} of memory)`];
}

function isSame(left: unknown, right: unknown): boolean {
  return canonicalJson(left ?? null) === canonicalJson(right ?? null);
}

function isWithin(
  part: Readonly<Record<string, string>> = {},
  whole: Readonly<Record<string, string>> = {},
): boolean {
  return Object.entries(part).every(([key, value]) => whole[key] === value);
}

function areAllIn(part: readonly unknown[] = [], whole: readonly unknown[] = []): boolean {
  const texts = new Set(whole.map(canonicalJson));
  return part.every((entry) => texts.has(canonicalJson(entry)));
}
