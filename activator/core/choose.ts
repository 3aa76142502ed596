/** A number in [0, 1), as `Math.random` gives. */
export type Random = () => number;

/** Picks by weight; with all weights 0 the last one, which is the newest revision. `undefined` for none. */
export function chooseByWeight<Item extends { weightPercent: number }>(
  items: readonly Item[],
  random: Random,
): Item | undefined {
  if (items.length <= 1) return items[0];
  let total = 0;
  for (const item of items) total += item.weightPercent;
  if (total <= 0) return items.at(-1);
  let rest = random() * total;
  let chosen: Item | undefined;
  for (const item of items) {
    if (item.weightPercent <= 0) continue;
    chosen = item;
    rest -= item.weightPercent;
    if (rest < 0) break;
  }
  return chosen;
}

export interface Loaded {
  inFlight: number;
  capacity: number;
}

/**
 * The power of two choices: two of the items that have room at random, and of these the one with the lower
 * load (in flight / capacity). Spreads nearly as well as the least loaded of all, and activators that don't
 * know of each other don't all rush to the same one.
 */
export function pickOfTwo<Item extends Loaded>(
  items: readonly Item[],
  hasRoom: (item: Item) => boolean,
  random: Random,
): Item | undefined {
  let candidates = 0;
  let only: Item | undefined;
  for (const item of items) {
    if (!hasRoom(item)) continue;
    candidates++;
    only = item;
  }
  if (candidates <= 1) return only;
  const first = Math.floor(random() * candidates);
  const second = (first + 1 + Math.floor(random() * (candidates - 1))) % candidates;
  let index = 0;
  let one: Item | undefined;
  let other: Item | undefined;
  for (const item of items) {
    if (!hasRoom(item)) continue;
    if (index === first) one = item;
    if (index === second) other = item;
    index++;
  }
  if (one === undefined || other === undefined) return one ?? other;
  return other.inFlight * one.capacity < one.inFlight * other.capacity ? other : one;
}
