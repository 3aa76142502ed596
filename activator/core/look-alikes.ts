/** Names longer than this are no DNS labels, and not worth comparing. */
const MAX_NAME_LENGTH = 63;
/** At most this many names of a namespace are compared, so that a stream of wrong names costs little. */
const MAX_COMPARED = 500;
const MAX_SHOWN = 3;

/**
 * Levenshtein distance of two names, or `limit + 1` as soon as it is known to be above `limit`.
 *
 * @param limit largest distance of interest; the work is bounded by length × (2·limit + 1).
 */
export function editDistance(one: string, other: string, limit: number): number {
  if (Math.abs(one.length - other.length) > limit) return limit + 1;
  let previous = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (let row = 1; row <= one.length; row++) {
    const current = Array<number>(other.length + 1).fill(limit + 1);
    current[0] = row;
    let best = row;
    const from = Math.max(1, row - limit);
    const to = Math.min(other.length, row + limit);
    for (let column = from; column <= to; column++) {
      const replaced = (previous[column - 1] ?? limit + 1) + (one[row - 1] === other[column - 1] ? 0 : 1);
      const removed = (previous[column] ?? limit + 1) + 1;
      const added = (current[column - 1] ?? limit + 1) + 1;
      const distance = Math.min(replaced, removed, added);
      current[column] = distance;
      best = Math.min(best, distance);
    }
    if (best > limit) return limit + 1;
    previous = current;
  }
  return Math.min(previous[other.length] ?? limit + 1, limit + 1);
}

/** Up to three of `names` that a person may have meant by `wanted`, the nearest first. */
export function lookAlikes(wanted: string, names: Iterable<string>): string[] {
  if (wanted === '' || wanted.length > MAX_NAME_LENGTH) return [];
  // A third of the letters may be wrong, but at most three: `ocr` finds `ocd`, `recogniser` finds `recognizer`.
  const limit = Math.min(3, Math.max(1, Math.floor(wanted.length / 3)));
  const found: { name: string; distance: number }[] = [];
  let compared = 0;
  for (const name of names) {
    if (++compared > MAX_COMPARED) break;
    const distance = editDistance(wanted, name, limit);
    if (distance <= limit) found.push({ name, distance });
  }
  found.sort((one, other) => one.distance - other.distance || (one.name < other.name ? -1 : 1));
  return found.slice(0, MAX_SHOWN).map(({ name }) => name);
}
