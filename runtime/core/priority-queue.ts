/** What a request without a priority has: 1 is the highest, so there is room above and below. */
export const DEFAULT_PRIORITY = 100;

/**
 * Items by priority, the smallest number first, and within one priority in the order of their arrival. Each item is
 * in it once.
 */
export class PriorityQueue<Item> {
  /** Ascending; none is empty. Few, as a rule one. */
  readonly #levels: { priority: number; items: Set<Item> }[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(item: Item, priority: number): void {
    let index = this.#levels.length;
    while (index > 0 && (this.#levels[index - 1]?.priority ?? 0) >= priority) index -= 1;
    const level = this.#levels[index];
    if (level?.priority === priority) level.items.add(item);
    else this.#levels.splice(index, 0, { priority, items: new Set([item]) });
    this.#size += 1;
  }

  /** False when it isn't in the queue (any more). */
  remove(item: Item): boolean {
    for (const [index, { items }] of this.#levels.entries()) {
      if (!items.delete(item)) continue;
      if (items.size === 0) this.#levels.splice(index, 1);
      this.#size -= 1;
      return true;
    }
    return false;
  }

  /** In their order. Items may be removed meanwhile. */
  *[Symbol.iterator](): Generator<Item, undefined> {
    // A copy: a level goes when its last item is taken out.
    for (const { items } of this.#levels.slice()) yield* items;
  }
}
