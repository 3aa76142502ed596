import { Agent, type Dispatcher } from 'undici';
import type { KubeAccess } from './kube-access.ts';
import { KubeError } from './kube-error.ts';

export interface Exchange {
  readonly method: Dispatcher.HttpMethod;
  /** Path and query. */
  readonly path: string;
  readonly body?: { readonly type: string; readonly text: string };
}

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: Dispatcher.ResponseData['body'];
}

/** One HTTP exchange with the API server over the one agent that all calls and watches share. */
export interface Transport {
  /** @throws the signal's reason when it aborts, KubeError `unavailable` when there is no answer. */
  send(exchange: Exchange, signal: AbortSignal): Promise<Answer>;
  close(): Promise<void>;
}

/**
 * HTTP/1.1 on purpose: a connection that hangs takes one call with it and not all of them, and a large list
 * holds up nobody's watch. The pool has no limit of its own; the client bounds its calls, and each watch has
 * a connection. Deadlines are the caller's, by signal.
 */
export function createTransport(access: KubeAccess, userAgent: string): Transport {
  const agent = new Agent({
    allowH2: false,
    headersTimeout: 0,
    bodyTimeout: 0,
    // The API server closes idle connections after 90 s; closing them first avoids the race with a new call.
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 60_000,
    // Probes find a peer that is gone without a word, within about 40 s.
    connect: { ...access.tls, timeout: 5_000, keepAlive: true, keepAliveInitialDelay: 30_000 },
  });
  return {
    async send({ method, path, body }, signal) {
      try {
        const credentials = await access.headers();
        const {
          statusCode,
          headers,
          body: answer,
        } = await agent.request({
          origin: access.server,
          path,
          method,
          headers: {
            ...credentials,
            accept: 'application/json',
            'user-agent': userAgent,
            ...(body && { 'content-type': body.type }),
          },
          body: body?.text ?? null,
          signal,
        });
        const retryAfter = headers['retry-after'];
        return {
          status: statusCode,
          retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
          body: answer,
        };
      } catch (error) {
        throw reasonFor(error, signal, `${method} ${path}`);
      }
    },
    close: () => agent.destroy(),
  };
}

/** What to throw for a failed exchange: the reason it was ended for, else that the server could not be reached. */
export function reasonFor(error: unknown, signal: AbortSignal, call: string): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof KubeError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new KubeError('unavailable', `${call}: no answer from the API server: ${why}`, { cause: error });
}

/**
 * The body as text.
 * @throws KubeError `too-large` beyond `maxBytes`; what {@link reasonFor} gives when it is cut.
 */
export async function readText(
  answer: Answer,
  maxBytes: number,
  signal: AbortSignal,
  call: string,
): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop destroys the body, and with it the connection.
      if (bytes > maxBytes) {
        throw new KubeError('too-large', `${call}: the answer has more than ${maxBytes} bytes`, {
          status: answer.status,
        });
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw reasonFor(error, signal, call);
  }
  return Buffer.concat(chunks, bytes).toString('utf8');
}
