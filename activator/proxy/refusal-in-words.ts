import { HEADERS } from '../../contracts/headers.ts';
import type { RevisionRoute } from '../../contracts/routes.ts';

/** Words by which a runtime says that it did not look at a request. */
const UNSEEN = new Set(['draining', 'wrong-service', 'not-ready']);

/** Why an answer is in truth a refusal that another replica may not share; `undefined` for a real answer. */
export function refusalIn(
  status: number,
  headers: readonly string[],
  kind: RevisionRoute['kind'] | undefined,
): string | undefined {
  if (status === 421) return 'it answered 421';
  if (status !== 503 || kind !== 'runtime') return undefined;
  for (let index = 0; index < headers.length; index += 2) {
    const value = headers[index + 1] ?? '';
    if (headers[index]?.toLowerCase() === HEADERS.error && UNSEEN.has(value))
      return `it answered 503 ${value}`;
  }
  return undefined;
}
