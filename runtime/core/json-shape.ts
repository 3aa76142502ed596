import { PilotlightError } from '../../contracts/errors.ts';
import type { JsonCursor } from './json-cursor.ts';
import { shown, type TensorLimits } from './tensor.ts';

const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * The shape that nested arrays have, from the first array on each level: `[[1,2],[3,4],[5,6]]` is [3, 2], `7` is [].
 * Passes the whole value. Whether the other arrays agree is for the reader of the data to find, which knows the
 * element that doesn't fit. Throws `invalid-request` for bad JSON and for more dimensions than allowed.
 */
export function measureShape(cursor: JsonCursor, name: string, limits: TensorLimits): number[] {
  const shape: number[] = [];
  const counts: number[] = [];
  for (;;) {
    if (cursor.peek() === OPEN_BRACKET) {
      cursor.enter(counts.length + 1);
      if (counts.length >= limits.maxRank) {
        throw new PilotlightError(
          'invalid-request',
          `tensor '${shown(name)}' is nested deeper than the ${limits.maxRank} dimensions allowed`,
        );
      }
      cursor.position++;
      counts.push(0);
      if (cursor.peek() !== CLOSE_BRACKET) continue;
    } else {
      cursor.skipValue();
      addElement(counts);
    }
    for (;;) {
      const depth = counts.length;
      if (depth === 0) return shape;
      if (cursor.peek() === CLOSE_BRACKET) {
        cursor.position++;
        shape[depth - 1] ??= counts[depth - 1] ?? 0;
        counts.pop();
        addElement(counts);
        continue;
      }
      if (cursor.peek() !== COMMA) cursor.fail("expected ',' or ']'");
      cursor.position++;
      break;
    }
  }
}

function addElement(counts: number[]): void {
  const last = counts.length - 1;
  if (last >= 0) counts[last] = (counts[last] ?? 0) + 1;
}
