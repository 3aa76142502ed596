import { type ErrorCode, PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { errorBody } from '../core/oip-metadata.ts';
import type { Answer } from './exchange.ts';

/** A JSON answer. */
export function jsonAnswer(status: number, value: object): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) };
}

/** Codes after which a connection is of no more use to its client, so that it is told to leave it. */
const CLOSING: ReadonlySet<ErrorCode> = new Set([
  'draining',
  'body-timeout',
  'bad-framing',
  'body-too-large',
]);

/** A refusal as the caller sees it: `{"error": …}` and the stable code in a header. */
export function errorAnswer(error: PilotlightError): Answer {
  const answer = jsonAnswer(error.status, errorBody(error.message));
  answer.headers[HEADERS.error] = error.code;
  if (error.retryAfterSeconds !== undefined) answer.headers['retry-after'] = String(error.retryAfterSeconds);
  if (CLOSING.has(error.code)) answer.headers['connection'] = 'close';
  return answer;
}

/**
 * Any thrown value as what a caller may see: one of ours as it is, anything else as `internal` without its text,
 * which may hold what is not for callers.
 */
export function publicError(thrown: unknown, log: (error: unknown) => void): PilotlightError {
  const error = toPilotlightError(thrown);
  if (error.code !== 'internal') return error;
  log(thrown);
  return new PilotlightError('internal', 'an unexpected error, which the log of this runtime tells', {
    cause: thrown,
  });
}
