import type { FastifyRequest } from 'fastify';
import { PilotlightError } from '../../contracts/errors.ts';

/**
 * The bearer token of a request.
 * @param whose What token is expected, for the error's text.
 * @throws PilotlightError `unauthorized` when there is none.
 */
export function bearerToken(request: FastifyRequest, whose: string): string {
  const header = request.headers.authorization;
  if (header === undefined)
    throw unauthorized(`expected a header "authorization: Bearer <${whose}>", got none`);
  const [, token] = /^Bearer ([^\s]+)$/i.exec(header) ?? [];
  if (token === undefined) {
    throw unauthorized(`expected a header "authorization: Bearer <${whose}>", got another kind`);
  }
  return token;
}

export function unauthorized(message: string): PilotlightError {
  return new PilotlightError('unauthorized', message);
}
