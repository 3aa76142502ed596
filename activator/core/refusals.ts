import { PilotlightError } from '../../contracts/errors.ts';
import type { ServiceRoute } from '../../contracts/routes.ts';

/** The answers that the activator gives by itself, in words for the caller. */

const nameOf = (service: ServiceRoute): string => `service ${service.namespace}/${service.name}`;

export function unknownService(message: string): PilotlightError {
  return new PilotlightError('unknown-service', message);
}

export function notReady(): PilotlightError {
  return new PilotlightError(
    'not-ready',
    'this activator has no routes from its controller yet; send the request again',
    { retryAfterSeconds: 1 },
  );
}

export function outOfTouch(unknown: string): PilotlightError {
  return new PilotlightError(
    'not-ready',
    `${unknown}; this activator has lost touch with its controller, which may know it by now: send the request again`,
    { retryAfterSeconds: 1 },
  );
}

export function serviceRemoved(service: ServiceRoute): PilotlightError {
  return new PilotlightError(
    'unknown-service',
    `${nameOf(service)} was removed while the request waited for it`,
  );
}

export function revisionRemoved(service: ServiceRoute, revision: string): PilotlightError {
  return new PilotlightError('unknown-service', `${nameOf(service)} has no revision "${revision}" any more`);
}

export function serviceStopped(service: ServiceRoute, text: string): PilotlightError {
  return new PilotlightError('service-stopped', `${nameOf(service)} is stopped: ${text}`);
}

export function queueFull(service: ServiceRoute, which: 'requests' | 'bytes'): PilotlightError {
  const bound =
    which === 'requests'
      ? `${service.queue.maxRequests} requests`
      : `${service.queue.maxBytes} bytes of request bodies`;
  return new PilotlightError('queue-full', `the queue of ${nameOf(service)} is full (${bound}); try again`, {
    retryAfterSeconds: 1,
  });
}

/** The load error with its own code in the text: a caller sees 503 `load-failed`, whatever the cause. */
export function loadFailed(
  service: ServiceRoute,
  failure: { code: string; message: string },
): PilotlightError {
  return new PilotlightError(
    'load-failed',
    `the model of ${nameOf(service)} failed to load: ${failure.message} (${failure.code})`,
    { retryAfterSeconds: 10 },
  );
}

/** @param phase where the start hung, as the controller said last. */
export function startTimeout(service: ServiceRoute, phase: string | undefined): PilotlightError {
  const where = phase === undefined ? 'while waiting for a replica with room' : `in phase "${phase}"`;
  return new PilotlightError(
    'start-timeout',
    `${nameOf(service)} had no replica for this request within ${service.startTimeoutMs} ms; it hung ${where}`,
    { retryAfterSeconds: 5 },
  );
}

export function requestTimeout(service: ServiceRoute): PilotlightError {
  return new PilotlightError(
    'request-timeout',
    `the replica of ${nameOf(service)} did not answer within ${service.requestTimeoutMs} ms`,
  );
}

export function replicaFailed(service: ServiceRoute, reason: string): PilotlightError {
  return new PilotlightError('replica-failed', `the replica of ${nameOf(service)} failed: ${reason}`);
}

export function bodyTimeout(timeoutMs: number): PilotlightError {
  return new PilotlightError(
    'body-timeout',
    `the request body came too slowly: less than expected in ${timeoutMs} ms; send it faster`,
  );
}

export function badFraming(reason: string): PilotlightError {
  return new PilotlightError('bad-framing', `the request can't be forwarded safely: ${reason}`);
}
