/** Different sentences of one kind that are told each on its own; those beyond share one event. As client-go has it. */
export const MAX_DISTINCT = 10;
/** A kind that was not heard of for this long begins anew. As client-go has it. */
export const FORGET_AFTER_MS = 600_000;
/** Kinds (reason and object) that are remembered; the longest silent go first. */
const MAX_KINDS = 4_096;

/**
 * Finds sentences that differ in their figures alone: those of one reason about one object, such as each cold
 * start's. After the tenth within ten minutes they are told as one event with a count.
 */
export class SimilarEvents {
  readonly #kinds = new Map<string, { messages: Set<string>; lastMs: number }>();

  /** Kinds that are remembered. */
  get size(): number {
    return this.#kinds.size;
  }

  /** Takes a sentence in and says whether it belongs to the event that stands for many. */
  isCombined(kind: string, message: string, nowMs: number): boolean {
    const known = this.#kinds.get(kind);
    const isFresh = known !== undefined && nowMs - known.lastMs <= FORGET_AFTER_MS;
    const messages = isFresh ? known.messages : new Set<string>();
    this.#kinds.delete(kind);
    this.#kinds.set(kind, { messages, lastMs: nowMs });
    for (const oldest of this.#kinds.keys()) {
      if (this.#kinds.size <= MAX_KINDS) break;
      this.#kinds.delete(oldest);
    }
    if (messages.has(message)) return false;
    if (messages.size >= MAX_DISTINCT) return true;
    messages.add(message);
    return false;
  }
}
