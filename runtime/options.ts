import { parseArgs } from 'node:util';

/** What a runtime process needs to know; parsed and checked once, then frozen. */
interface CommonOptions {
  readonly host: string;
  /** Serving port, HTTP/1.1 and HTTP/2 cleartext; 0 takes any free one. */
  readonly port: number;
  /** A second serving port for clients that want gRPC on its own. */
  readonly grpcPort: number | undefined;
  readonly cacheDir: string;
  readonly cacheMaxBytes: number | undefined;
  readonly record: string | undefined;
  readonly lifeline: { readonly path: string; readonly graceMs: number } | undefined;
  /** Metrics by Triton's names as well. */
  readonly tritonMetrics: boolean;
  /** Time to finish what is in flight after SIGTERM. */
  readonly drainMs: number;
}

export interface StandbyOptions extends CommonOptions {
  readonly mode: 'standby';
  readonly adminPort: number;
  /** Of this process and all of its incarnations before. */
  readonly highestEpoch: number;
  /** How often this process has replaced itself. */
  readonly recycles: number;
}

export interface StandaloneOptions extends CommonOptions {
  readonly mode: 'standalone';
  /** URI or path as it was typed. */
  readonly model: string;
  readonly name: string;
  readonly adminPort: number | undefined;
  readonly instances: number | undefined;
  readonly threads: number | undefined;
  readonly executionProvider: 'cpu' | 'cuda' | 'webgpu';
  readonly executionProviderFallback: 'cpu' | 'refuse';
  /** How requests are put together; undefined leaves it to the model. */
  readonly batching: { readonly maxBatchSize: number; readonly maxLatencyMs: number } | undefined;
  readonly startTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Code to run before and after the model: whoever types this allows it. */
  readonly transform: StandaloneTransform | undefined;
  /** Settings in JSON, as `spec.predictor.model.imageInput` has them. */
  readonly imageInput: string | undefined;
  /** A file of labels beside the model, and how many of the best are answered. */
  readonly labels: { readonly path: string; readonly top: number } | undefined;
}

export interface StandaloneTransform {
  /** Relative to the folder of the model's file. */
  readonly path: string;
  readonly sha256: string | undefined;
  readonly timeoutMs: number;
  readonly memoryBytes: number;
}

export type RuntimeOptions = StandbyOptions | StandaloneOptions;

/** A mistake on the command line: the message says which option, what was expected and what came. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

const FLAGS = {
  standby: { type: 'boolean' },
  model: { type: 'string' },
  name: { type: 'string' },
  host: { type: 'string' },
  port: { type: 'string' },
  'grpc-port': { type: 'string' },
  'admin-port': { type: 'string' },
  'cache-dir': { type: 'string' },
  'cache-max-bytes': { type: 'string' },
  instances: { type: 'string' },
  threads: { type: 'string' },
  'execution-provider': { type: 'string' },
  'execution-provider-fallback': { type: 'string' },
  'max-batch-size': { type: 'string' },
  'max-latency-ms': { type: 'string' },
  'start-timeout-ms': { type: 'string' },
  'request-timeout-ms': { type: 'string' },
  transform: { type: 'string' },
  'transform-timeout-ms': { type: 'string' },
  'transform-memory-bytes': { type: 'string' },
  'image-input': { type: 'string' },
  labels: { type: 'string' },
  'labels-top': { type: 'string' },
  record: { type: 'string' },
  'triton-metrics': { type: 'boolean' },
  lifeline: { type: 'string' },
  'lifeline-grace-ms': { type: 'string' },
  'highest-epoch': { type: 'string' },
  recycles: { type: 'string' },
  'drain-ms': { type: 'string' },
} as const;

const DEFAULT_PORT = 8080;
const DEFAULT_START_TIMEOUT_MS = 10 * 60_000;
/** Knative's default. */
const DEFAULT_REQUEST_TIMEOUT_MS = 300_000;
/** As the fields of a service have it. */
const DEFAULT_TRANSFORM = { timeoutMs: 5_000, memoryBytes: 256 * 1024 ** 2 };
const DEFAULT_TOP = 5;
const LEAST_TRANSFORM_BYTES = 32 * 1024 ** 2;
const MAX_PORT = 65_535;
/** Whoever sends SIGTERM on one machine waits 5 s before it kills; all of a stop has to fit. */
const DEFAULT_DRAIN_MS = 3_500;
const MAX_DRAIN_MS = 24 * 3_600_000;

/**
 * The arguments behind the program's name as options.
 *
 * @param defaultCacheDir where models are cached unless `--cache-dir` says otherwise.
 * @throws OptionError for an unknown, missing or malformed option.
 */
export function parseOptions(argv: readonly string[], defaultCacheDir: string): RuntimeOptions {
  const values = parseFlags(argv);
  const whole = (
    name: keyof typeof FLAGS,
    least: number,
    most = Number.MAX_SAFE_INTEGER,
  ): number | undefined => {
    const text = values[name];
    if (typeof text !== 'string') return undefined;
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    const range = most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`;
    throw new OptionError(`--${name}: expected a whole number ${range}, got '${text}'`);
  };
  const common: CommonOptions = {
    host: values.host ?? '127.0.0.1',
    port: whole('port', 0, MAX_PORT) ?? DEFAULT_PORT,
    grpcPort: whole('grpc-port', 0, MAX_PORT),
    cacheDir: values['cache-dir'] ?? defaultCacheDir,
    cacheMaxBytes: whole('cache-max-bytes', 1),
    record: values.record,
    tritonMetrics: values['triton-metrics'] ?? false,
    lifeline:
      values.lifeline === undefined
        ? undefined
        : Object.freeze({ path: values.lifeline, graceMs: whole('lifeline-grace-ms', 0) ?? 0 }),
    drainMs: whole('drain-ms', 0, MAX_DRAIN_MS) ?? DEFAULT_DRAIN_MS,
  };
  if (values.standby === true) {
    if (values.model !== undefined) {
      throw new OptionError('--standby and --model exclude each other: a standby is given its model later');
    }
    return Object.freeze({
      ...common,
      mode: 'standby',
      adminPort: whole('admin-port', 0, MAX_PORT) ?? 0,
      highestEpoch: whole('highest-epoch', 0) ?? 0,
      recycles: whole('recycles', 0) ?? 0,
    });
  }
  if (values.model === undefined || values.model === '') {
    throw new OptionError('--model: expected a path or URI of a model, or --standby; got neither');
  }
  const maxBatchSize = whole('max-batch-size', 1, 4_096);
  const maxLatencyMs = whole('max-latency-ms', 0, 60_000);
  if (maxBatchSize === undefined && maxLatencyMs !== undefined) {
    throw new OptionError('--max-latency-ms: expected --max-batch-size beside it, of which it is the wait');
  }
  return Object.freeze({
    ...common,
    mode: 'standalone',
    model: values.model,
    name: values.name ?? modelNameOf(values.model),
    adminPort: whole('admin-port', 0, MAX_PORT),
    instances: whole('instances', 1, 1024),
    threads: whole('threads', 1, 1024),
    executionProvider:
      oneOf('execution-provider', values['execution-provider'], ['cpu', 'cuda', 'webgpu']) ?? 'cpu',
    executionProviderFallback:
      oneOf('execution-provider-fallback', values['execution-provider-fallback'], ['cpu', 'refuse']) ?? 'cpu',
    batching:
      maxBatchSize === undefined
        ? undefined
        : Object.freeze({ maxBatchSize, maxLatencyMs: maxLatencyMs ?? 0 }),
    startTimeoutMs: whole('start-timeout-ms', 1) ?? DEFAULT_START_TIMEOUT_MS,
    requestTimeoutMs: whole('request-timeout-ms', 1) ?? DEFAULT_REQUEST_TIMEOUT_MS,
    transform: transformOf(values.transform, {
      timeoutMs: whole('transform-timeout-ms', 1, 2 ** 31 - 1),
      memoryBytes: whole('transform-memory-bytes', LEAST_TRANSFORM_BYTES),
    }),
    imageInput: values['image-input'],
    labels:
      values.labels === undefined
        ? undefined
        : Object.freeze({ path: values.labels, top: whole('labels-top', 1, 1000) ?? DEFAULT_TOP }),
  });
}

function oneOf<Word extends string>(
  name: keyof typeof FLAGS,
  text: string | undefined,
  words: readonly Word[],
): Word | undefined {
  const word = words.find((known) => known === text);
  if (text === undefined || word !== undefined) return word;
  throw new OptionError(`--${name}: expected ${words.join(' or ')}, got '${text}'`);
}

/** `transform.mjs`, or with the digest that it must have `transform.mjs#sha256=…`. */
function transformOf(
  text: string | undefined,
  limits: { timeoutMs: number | undefined; memoryBytes: number | undefined },
): StandaloneTransform | undefined {
  if (text === undefined) return undefined;
  const [, path, sha256] = /^([^#]+)(?:#sha256=([0-9a-f]{64}))?$/i.exec(text) ?? [];
  if (path === undefined) {
    throw new OptionError(
      `--transform: expected a module beside the model such as transform.mjs or transform.mjs#sha256=…, got '${text}'`,
    );
  }
  return Object.freeze({
    path,
    sha256: sha256?.toLowerCase(),
    timeoutMs: limits.timeoutMs ?? DEFAULT_TRANSFORM.timeoutMs,
    memoryBytes: limits.memoryBytes ?? DEFAULT_TRANSFORM.memoryBytes,
  });
}

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, allowPositionals: false }).values;
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error));
  }
}

/** `s3://bucket/models/rec/` → `rec`, `./a/silero.onnx?x#y` → `silero`. */
export function modelNameOf(uri: string): string {
  const path = uri.replace(/[?#].*$/, '').replace(/\/+$/, '');
  const last = path.slice(path.lastIndexOf('/') + 1).replace(/\.onnx$/i, '');
  return last === '' ? 'model' : last;
}

/** A standby's options as arguments, with the ports that it really has: what its next incarnation starts with, one recycle later. */
export function standbyArguments(
  options: StandbyOptions,
  actual: { port: number; grpcPort: number | undefined; adminPort: number; highestEpoch: number },
): string[] {
  const flag = (name: keyof typeof FLAGS, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${name}`, String(value)];
  return [
    '--standby',
    ...flag('host', options.host),
    ...flag('port', actual.port),
    ...flag('grpc-port', actual.grpcPort),
    ...flag('admin-port', actual.adminPort),
    ...flag('cache-dir', options.cacheDir),
    ...flag('cache-max-bytes', options.cacheMaxBytes),
    ...flag('record', options.record),
    ...flag('lifeline', options.lifeline?.path),
    ...flag('lifeline-grace-ms', options.lifeline?.graceMs),
    ...(options.tritonMetrics ? ['--triton-metrics'] : []),
    ...flag('drain-ms', options.drainMs),
    ...flag('highest-epoch', actual.highestEpoch),
    ...flag('recycles', options.recycles + 1),
  ];
}
