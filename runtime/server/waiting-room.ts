import { PilotlightError } from '../../contracts/errors.ts';
import { DEFAULT_PRIORITY, PriorityQueue } from '../core/priority-queue.ts';
import { RETRY_AFTER_SECONDS } from './admission.ts';

/** The longest time that a Node timer takes; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface Waiter {
  grant(): void;
}

/** How many may be at the model at once, and how many may wait for a place. */
export interface RoomSize {
  capacity: number;
  maxWaiting: number;
}

/**
 * Places at the model: as many as its capacity, and a bounded number that wait, by priority and in the order in which
 * they came.
 * A place that is taken must be given back exactly once with {@link WaitingRoom.leave}.
 */
export class WaitingRoom {
  #taken = 0;
  #capacity = 0;
  readonly #waiting = new PriorityQueue<Waiter>();

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** @throws PilotlightError `server-busy` when whoever comes now would find neither place nor bench. */
  refuseWhenFull({ capacity, maxWaiting }: RoomSize): void {
    if (this.#taken < capacity || this.#waiting.size < maxWaiting) return;
    throw new PilotlightError(
      'server-busy',
      `${this.#taken} requests are at the model and ${this.#waiting.size} wait, which is all that may; try again`,
      { retryAfterSeconds: RETRY_AFTER_SECONDS },
    );
  }

  /**
   * Takes a place at once (undefined) or gives a promise of one.
   *
   * @throws PilotlightError `server-busy` at once; the promise rejects with `client-closed` when `signal` is
   * aborted and with `inference-timeout` at `deadlineMs` by `performance.now()`; no place is held then.
   */
  enter(
    size: RoomSize,
    signal: AbortSignal,
    deadlineMs: number,
    priority = DEFAULT_PRIORITY,
  ): Promise<void> | undefined {
    this.#capacity = size.capacity;
    if (this.#taken < size.capacity && this.#waiting.size === 0) {
      this.#taken += 1;
      return undefined;
    }
    this.refuseWhenFull(size);
    return this.#wait(signal, deadlineMs, priority);
  }

  leave(): void {
    this.#taken -= 1;
    this.#fill();
  }

  #fill(): void {
    for (const waiter of this.#waiting) {
      if (this.#taken >= this.#capacity) return;
      this.#waiting.remove(waiter);
      this.#taken += 1;
      waiter.grant();
    }
  }

  #wait(signal: AbortSignal, deadlineMs: number, priority: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#waiting.remove(waiter);
      };
      const onAbort = (): void => {
        settle();
        reject(new PilotlightError('client-closed', 'the client left while its request waited'));
      };
      const timer = setTimeout(
        () => {
          settle();
          reject(
            new PilotlightError(
              'inference-timeout',
              'the request timeout passed while it waited for the model',
            ),
          );
        },
        Math.min(MAX_TIMER_MS, Math.max(0, deadlineMs - performance.now())),
      );
      const waiter: Waiter = {
        grant: () => {
          settle();
          resolve();
        },
      };
      if (signal.aborted) onAbort();
      else {
        signal.addEventListener('abort', onAbort);
        this.#waiting.add(waiter, priority);
        // More capacity than before, after another model came, may have room at once.
        this.#fill();
      }
    });
  }
}
