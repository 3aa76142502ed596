import { PilotlightError } from '../../contracts/errors.ts';
import type { ParameterValue } from './oip-messages.ts';

/** What 32 bits hold. */
const MAX_PRIORITY = 2 ** 32 - 1;

/**
 * The parameter `priority` of a request, as Triton's clients send it: 1 is the highest, larger numbers are lower.
 *
 * @returns undefined for none and for 0, which stands for the default.
 * @throws PilotlightError `invalid-request` for anything that is no whole number in range.
 */
export function parsePriority(value: ParameterValue | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > MAX_PRIORITY) {
    const found = typeof value === 'string' ? `the text '${value.slice(0, 40)}'` : String(value);
    throw new PilotlightError(
      'invalid-request',
      `parameter "priority": expected a whole number from 0 (the default) to ${MAX_PRIORITY}, 1 being the highest, got ${found}`,
    );
  }
  return number === 0 ? undefined : number;
}
