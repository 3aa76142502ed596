import type { SpecialiseEvent, SpecialiseRequest } from '../../../contracts/admin.ts';
import { type ErrorCode, PilotlightError } from '../../../contracts/errors.ts';
import type { Clock, ObservedReplica, ReplicaOrigin } from '../../ports.ts';

/** The one pool of the simulated world. */
export const POOL = 'pool';

/** How a load goes, by the model's URI. */
export interface LoadOutcome {
  loadMs: number;
  capacity: number;
  failure?: { code: ErrorCode; message: string };
}

/**
 * A runtime that keeps the claim protocol of the contract without a process: the first claim wins, the same
 * one again gets its events from the start, another one is refused, and an older epoch too.
 */
export class SimulatedRuntime {
  readonly id: string;
  readonly host: string;
  readonly origin: ReplicaOrigin;
  readonly startedFor: ObservedReplica['startedFor'];
  readonly address: string;
  state: ObservedReplica['state'] = 'starting';
  claim: ObservedReplica['claim'];
  capacity: number | undefined;
  cachedModels: readonly string[];
  inFlight = 0;
  sinceMs: number;
  #highestEpoch = 0;
  #events: SpecialiseEvent[] = [];
  readonly #listeners = new Set<(event: SpecialiseEvent) => void>();
  readonly #breaks = new Set<(error: Error) => void>();
  readonly #clock: Clock;
  readonly #changed: () => void;

  constructor(options: {
    id: string;
    host: string;
    origin: ReplicaOrigin;
    startedFor?: ObservedReplica['startedFor'];
    cachedModels: readonly string[];
    address: string;
    clock: Clock;
    changed: () => void;
  }) {
    this.id = options.id;
    this.host = options.host;
    this.origin = options.origin;
    this.startedFor = options.startedFor;
    this.cachedModels = options.cachedModels;
    this.address = options.address;
    this.#clock = options.clock;
    this.#changed = options.changed;
    this.sinceMs = options.clock.nowMs();
  }

  observed(): ObservedReplica {
    const { id, host, origin, state, claim, capacity, startedFor, cachedModels, sinceMs } = this;
    return {
      id,
      host,
      origin,
      state,
      cachedModels,
      sinceMs,
      ...(origin === 'standby' && { pool: POOL }),
      ...(state !== 'starting' && { address: this.address }),
      ...(claim && { claim }),
      ...(startedFor && { startedFor }),
      ...(capacity !== undefined && { capacity }),
    };
  }

  become(state: ObservedReplica['state']): void {
    this.state = state;
    this.sinceMs = this.#clock.nowMs();
    this.#changed();
  }

  specialise(
    request: SpecialiseRequest,
    outcome: LoadOutcome,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent> {
    if (request.epoch < this.#highestEpoch) {
      throw new PilotlightError('stale-epoch', `epoch ${request.epoch} is below ${this.#highestEpoch}`);
    }
    if (this.claim !== undefined && this.claim.claimId !== request.claimId) {
      throw new PilotlightError('claim-conflict', `${this.id} is claimed by ${this.claim.claimId}`);
    }
    this.#highestEpoch = request.epoch;
    const isNew = this.claim === undefined;
    const { claimId, epoch, revision, service } = request;
    this.claim = { claimId, epoch, serviceUid: service.uid, revision };
    return new Promise((resolve, reject) => {
      const listen = (event: SpecialiseEvent): void => {
        onEvent(event);
        if (event.event !== 'ready' && event.event !== 'failed') return;
        this.#listeners.delete(listen);
        this.#breaks.delete(reject);
        resolve(event);
      };
      this.#breaks.add(reject);
      this.#listeners.add(listen);
      for (const event of this.#events) listen(event);
      if (isNew) this.#load(request, outcome);
    });
  }

  /** The process ended: calls under way break. */
  break(): void {
    this.state = 'failed';
    for (const reject of this.#breaks)
      reject(new PilotlightError('replica-failed', `${this.id} can't be reached`));
  }

  #load(request: SpecialiseRequest, outcome: LoadOutcome): void {
    this.become('specialising');
    const { uri } = request.model;
    const cached = this.cachedModels.includes(uri);
    const identity = { files: [{ path: 'model.onnx', sizeBytes: 1_000, version: 'one' }] };
    this.#emitLater(1, { event: 'claimed', elapsedMs: 1 });
    const { failure, loadMs, capacity } = outcome;
    if (failure !== undefined) {
      this.#emitLater(loadMs, { event: 'failed', elapsedMs: loadMs, ...failure });
      return;
    }
    this.#emitLater(loadMs / 4, {
      event: 'fetched',
      elapsedMs: loadMs / 4,
      cached,
      sizeBytes: 1_000,
      identity,
    });
    this.#emitLater(loadMs - 1, { event: 'created', elapsedMs: loadMs - 1 });
    this.#clock.after(loadMs, () => {
      this.capacity = capacity;
      this.cachedModels = [...new Set([...this.cachedModels, uri])];
      this.#emit({ event: 'ready', elapsedMs: loadMs, capacity });
    });
  }

  #emitLater(delayMs: number, event: SpecialiseEvent): void {
    this.#clock.after(delayMs, () => {
      this.#emit(event);
    });
  }

  #emit(event: SpecialiseEvent): void {
    if (this.state !== 'specialising') return;
    this.#events = [...this.#events, event];
    for (const listener of this.#listeners) listener(event);
    if (event.event === 'ready') this.become('ready');
    else if (event.event === 'failed') this.become('failed');
  }
}
