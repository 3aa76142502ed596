import { JsonLines } from '../../../../contracts/json-lines.ts';
import { endingOf } from './call-ending.ts';
import type { KubeAccess } from './kube-access.ts';
import { errorFromAnswer, KubeError } from './kube-error.ts';
import { type Answer, type Exchange, readText, reasonFor, type Transport } from './transport.ts';
import type { KubeObject, WatchEvent } from './wire.ts';

export interface WatchMeans {
  readonly transport: Transport;
  readonly access: KubeAccess;
  /** For the answer to begin; after that a watch may be silent for as long as its user bears it. */
  readonly headersTimeoutMs: number;
  readonly maxAnswerBytes: number;
}

const TYPES: ReadonlySet<unknown> = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);

/**
 * The events of one watch. Ends when the server ends it, and quietly when `signal` aborts; an event that was
 * under way at that moment is not yielded any more.
 *
 * @throws KubeError for an error status or an ERROR event, `unavailable` for a cut connection, `timeout` when
 *   the answer did not begin in time, `malformed` for what is no event.
 */
export async function* watchEvents<Type extends KubeObject>(
  means: WatchMeans,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<Type>, void, void> {
  const call = `watch ${path}`;
  try {
    const answer = await begin(means, { method: 'GET', path }, call, signal);
    const lines = new JsonLines();
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        for (const value of parse(lines, chunk, call)) {
          if (signal.aborted) return;
          yield eventOf<Type>(value, call);
        }
      }
    } catch (error) {
      throw reasonFor(error, signal, call);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function begin(
  { transport, access, headersTimeoutMs, maxAnswerBytes }: WatchMeans,
  exchange: Exchange,
  call: string,
  signal: AbortSignal,
): Promise<Answer> {
  // The connection lives on `whole`, which the deadline for its beginning may abort and then lets go of.
  const whole = new AbortController();
  const end = (): void => whole.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  using beginning = endingOf(call, headersTimeoutMs, []);
  const late = (): void => whole.abort(beginning.signal.reason);
  beginning.signal.addEventListener('abort', late, { once: true });
  const answer = await transport.send(exchange, whole.signal);
  if (answer.status === 200) return answer;
  if (answer.status === 401) access.refused();
  const text = await readText(answer, maxAnswerBytes, whole.signal, call);
  throw errorFromAnswer(call, answer.status, text, answer.retryAfter);
}

function parse(lines: JsonLines, chunk: Buffer, call: string): unknown[] {
  try {
    return lines.push(chunk);
  } catch (error) {
    throw new KubeError('malformed', `${call}: a line that is no event`, { cause: error });
  }
}

function eventOf<Type extends KubeObject>(value: unknown, call: string): WatchEvent<Type> {
  const { type, object } = (value ?? {}) as { type?: unknown; object?: unknown };
  if (typeof object === 'object' && object !== null) {
    if (TYPES.has(type)) return value as WatchEvent<Type>;
    if (type === 'ERROR') throw errorFromAnswer(call, statusOf(object), object);
  }
  throw new KubeError('malformed', `${call}: expected an event, got one of type ${String(type)}`);
}

function statusOf(status: { code?: unknown }): number {
  return typeof status.code === 'number' ? status.code : 500;
}
