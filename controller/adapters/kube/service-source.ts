import type { Problem } from '../../../crds/problems.ts';
import { canonicalJson } from '../../../crds/revision-spec.ts';
import { type InferenceService, parseInferenceService } from '../../../crds/schema.ts';
import type { Logger } from '../../../process/logger.ts';
import { type TransformNamespaces, transformProblem } from '../../core/user-code.ts';
import type { Clock, PlatformEvent, ResolvedService } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { RESOURCES } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import { type KubeObject, objectKey } from './api/wire.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import { ObjectsLetGo } from './objects-let-go.ts';
import { hasCredentials, readReferences } from './service-references.ts';

/** An InferenceService as the API server holds it. */
export interface ServiceObject extends KubeObject {
  readonly spec?: unknown;
  readonly status?: unknown;
}

export interface ServiceSourceOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly namespaces: readonly string[];
  /** Of them, those whose services may run code of their own. */
  readonly allowTransforms: TransformNamespaces;
  readonly logger: Logger;
  readonly emit: (event: PlatformEvent) => void;
  /** A service is there (again, or changed in any way), or is gone. */
  readonly onObject: (object: ServiceObject, isGone: boolean) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** For whoever asks where it is allowed. */
const ALLOW_TRANSFORMS = 'allowTransforms of the controller’s configuration';
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
/** Credentials may change without their service: they are read again after a while, spread over the services. */
const CREDENTIALS_TTL_MS = 5 * 60_000;
/** A service whose Secret is missing, or not as it should be, is looked at again after about this long. */
const MISSING_RETRY_MS = 10_000;

/**
 * The InferenceServices of the cluster: watched, validated by the same schema as a folder's manifests, what they
 * refer to read and resolved. Each change is told to the engine, in order for each service.
 */
export class ServiceSource {
  readonly #options: ServiceSourceOptions;
  readonly #reflector: Reflector<ServiceObject>;
  readonly #queue: WorkQueue;
  /** What the engine was last told, by `namespace/name`, so that a change of the status alone is none. */
  readonly #told = new Map<string, { uid: string; text: string }>();
  readonly #letGo = new ObjectsLetGo();
  #firstRound: Set<string> | undefined;
  #onFirstRoundOver: () => void = () => undefined;

  constructor(options: ServiceSourceOptions) {
    this.#options = options;
    const { client, clock, namespaces, logger } = options;
    this.#queue = createWorkQueue({
      clock,
      concurrency: 16,
      work: (key) => this.#tell(key),
      onFailure: (key, error, failures, retryMs) => {
        logger.warn({ service: key, err: error, failures, retryMs }, 'a service could not be read');
        // One whose references can't be read now must not keep the others from being served.
        this.#passed(key);
      },
    });
    this.#reflector = createReflector<ServiceObject>({
      client,
      clock,
      resource: RESOURCES.inferenceServices,
      namespaces,
      onChange: (object, previous) => this.#changed(object, previous),
      onDelete: (object) => {
        this.#letGo.forget(object);
        this.#deleted(object);
      },
      onSynced: () => {
        this.#firstRound = new Set(this.#reflector.store.keys());
        for (const key of this.#told.keys()) this.#firstRound.delete(key);
        this.#isFirstRoundOver();
      },
      onTrouble: options.onTrouble,
    });
  }

  /** Resolves when all services that there are have been told. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFirstRoundOver = resolve;
      this.#reflector.start();
    });
  }

  /** By `namespace/name`. */
  get objects(): ReadonlyMap<string, ServiceObject> {
    return this.#reflector.store;
  }

  /** Reads its references again: their credentials were refused. */
  readAgain(namespace: string, name: string): void {
    this.#told.delete(`${namespace}/${name}`);
    this.#queue.add(`${namespace}/${name}`);
  }

  /** The namespace is being deleted: its services count as deleted from now on. */
  letGo(namespace: string): void {
    for (const object of this.#letGo.letGo(this.#reflector.store.values(), namespace)) this.#deleted(object);
  }

  async stop(): Promise<void> {
    this.#reflector.stop();
    await this.#queue.stop();
  }

  #changed(object: ServiceObject, previous: ServiceObject | undefined): void {
    if (!this.#isThere(object)) {
      this.#deleted(object);
      return;
    }
    this.#options.onObject(object, false);
    // The status is our own word; what it is read for again by itself is in the queue already.
    if (previous === undefined || isNews(object, previous)) this.#queue.add(objectKey(object));
  }

  #deleted(object: ServiceObject): void {
    const key = objectKey(object);
    this.#options.onObject(object, true);
    const told = this.#told.get(key);
    this.#told.delete(key);
    if (told !== undefined) this.#options.emit({ type: 'service-deleted', uid: told.uid });
    this.#passed(key);
  }

  #isThere(object: ServiceObject): boolean {
    return object.metadata?.deletionTimestamp === undefined && !this.#letGo.has(object);
  }

  async #tell(key: string): Promise<void> {
    const object = this.#reflector.store.get(key);
    const { uid, generation = 0, namespace = '', name = '' } = object?.metadata ?? {};
    if (object === undefined || uid === undefined || !this.#isThere(object)) return this.#passed(key);
    const outcome = await this.#resolve(object, uid, generation);
    // Another version, or none, may have come while the references were read; that one is told then.
    const now = this.#reflector.store.get(key);
    const isCurrent = now?.metadata?.uid === uid && this.#isThere(now);
    const text = JSON.stringify(outcome);
    if (isCurrent && this.#told.get(key)?.text !== text) {
      this.#told.set(key, { uid, text });
      if ('problems' in outcome)
        this.#options.emit({
          type: 'service-invalid',
          namespace,
          name,
          problems: outcome.problems,
          object: { uid, generation },
        });
      else this.#options.emit({ type: 'service-applied', service: outcome });
    }
    const spread = 0.75 + Math.random() / 2;
    if ('problems' in outcome) {
      // What it refers to may come later than the service, as with whatever applies a folder.
      if (outcome.isWaiting) this.#queue.addAfter(key, MISSING_RETRY_MS * spread);
    } else if (hasCredentials(outcome.service)) this.#queue.addAfter(key, CREDENTIALS_TTL_MS * spread);
    this.#passed(key);
  }

  async #resolve(
    object: ServiceObject,
    uid: string,
    generation: number,
  ): Promise<ResolvedService | { problems: string[]; isWaiting: boolean }> {
    const parsed = parseInferenceService({ ...object, status: undefined });
    if (!parsed.ok) return { problems: parsed.problems.map(lineOf), isWaiting: false };
    const { allowTransforms } = this.#options;
    const code = transformProblem(parsed.service, allowTransforms, ALLOW_TRANSFORMS);
    if (code !== undefined) return { problems: [lineOf(code)], isWaiting: false };
    const references = await readReferences(this.#options.client, parsed.service).catch((error: unknown) => {
      if (!isKubeError(error, 'forbidden')) throw error;
      return { ok: false as const, problems: [{ path: 'spec.predictor', message: error.message }] };
    });
    if (!references.ok) return { problems: references.problems.map(lineOf), isWaiting: true };
    const { storage } = references.value;
    const warnings = parsed.warnings.map(lineOf);
    return {
      uid,
      generation,
      service: withoutNoise(parsed.service),
      // Left to the kubelet, which resolves the pod's own `valueFrom`; so that no Secret is kept in a revision.
      env: {},
      ...(storage && { modelUri: storage.uri }),
      ...(storage?.access && { access: storage.access }),
      ...(storage?.carriesCredentials && { carriesCredentials: true }),
      warnings: [...warnings, ...prunedFields(object)],
    };
  }

  #passed(key: string): void {
    if (this.#firstRound?.delete(key) === true) this.#isFirstRoundOver();
  }

  #isFirstRoundOver(): void {
    if (this.#firstRound?.size === 0) this.#onFirstRoundOver();
  }
}

/** Whether more than the status has changed, and the version that each write gives. */
function isNews(object: ServiceObject, previous: ServiceObject): boolean {
  const told = ({ status: _status, metadata, ...rest }: ServiceObject): string => {
    const { resourceVersion: _version, ...kept } = metadata ?? {};
    return canonicalJson({ ...rest, metadata: kept });
  };
  return told(object) !== told(previous);
}

function lineOf({ path, message }: Pick<Problem, 'path' | 'message'>): string {
  return `${path}: ${message}`;
}

/** Metadata that changes with each write, and what is kept for kubectl alone, are no part of a service. */
function withoutNoise(service: InferenceService): InferenceService {
  const { resourceVersion: _version, annotations, ...metadata } = service.metadata;
  const { [LAST_APPLIED]: _applied, ...kept } = annotations;
  return { ...service, metadata: { ...metadata, annotations: kept } };
}

/**
 * What `kubectl apply` sent and the API server left out, because the CRD doesn't know it: never silently.
 * A field that is known and wrong was refused by the API server itself, so what the schema finds here is unknown.
 */
function prunedFields(object: ServiceObject): string[] {
  const text = object.metadata?.annotations?.[LAST_APPLIED];
  if (text === undefined) return [];
  let applied: unknown;
  try {
    applied = JSON.parse(text);
  } catch {
    return [];
  }
  const parsed = parseInferenceService(applied);
  if (parsed.ok) return [];
  return parsed.problems.map(({ path, message }) => `${path}: left out by the API server: ${message}`);
}
