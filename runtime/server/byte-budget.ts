import { PilotlightError } from '../../contracts/errors.ts';
import { RETRY_AFTER_SECONDS } from './admission.ts';

/** What all bodies held at once may take. Each byte taken must be given back once. */
export class ByteBudget {
  readonly #limitBytes: number;
  #heldBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** @throws PilotlightError `server-busy` when `sizeBytes` more would not fit now. */
  refuseWhenFull(sizeBytes: number): void {
    if (this.#heldBytes + sizeBytes <= this.#limitBytes) return;
    throw new PilotlightError(
      'server-busy',
      `the bodies of requests in work take ${this.#heldBytes} of ${this.#limitBytes} bytes; ${sizeBytes} more do not fit now, try again`,
      { retryAfterSeconds: RETRY_AFTER_SECONDS },
    );
  }

  /** @throws PilotlightError `server-busy`; nothing is taken then. */
  take(sizeBytes: number): void {
    this.refuseWhenFull(sizeBytes);
    this.#heldBytes += sizeBytes;
  }

  /** Takes what is there already and can't be refused any more, such as an answer. */
  takeAnyway(sizeBytes: number): void {
    this.#heldBytes += sizeBytes;
  }

  give(sizeBytes: number): void {
    this.#heldBytes -= sizeBytes;
  }
}
