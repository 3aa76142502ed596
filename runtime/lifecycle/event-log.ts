import type { SpecialiseEvent } from '../../contracts/admin.ts';

type Listener = (event: SpecialiseEvent) => void;

/** Whether nothing follows this event. */
export function isLast({ event }: SpecialiseEvent): boolean {
  return event === 'ready' || event === 'failed';
}

/** The events of one claim. Whoever subscribes, and whenever, gets them from the start. */
export class EventLog {
  readonly #events: SpecialiseEvent[] = [];
  readonly #listeners = new Set<Listener>();

  /** True once `ready` or `failed` is in it; nothing follows. */
  get ended(): boolean {
    const last = this.#events.at(-1);
    return last !== undefined && isLast(last);
  }

  push(event: SpecialiseEvent): void {
    if (this.ended) return;
    this.#events.push(event);
    for (const listener of this.#listeners) listener(event);
    if (this.ended) this.#listeners.clear();
  }

  /** Calls `listener` with all events so far and with each that comes. Returns a function that ends it. */
  subscribe(listener: Listener): () => void {
    for (const event of this.#events) listener(event);
    if (!this.ended) this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
