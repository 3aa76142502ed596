import { Agent, type IncomingMessage, request } from 'node:http';
import {
  ADMIN_PATHS,
  type CallersRequest,
  type ClaimRequest,
  type RuntimeState,
  runtimeStateSchema,
  type SpecialiseEvent,
  type SpecialiseRequest,
  specialiseEventSchema,
} from '../../contracts/admin.ts';
import { isErrorCode, PilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { JsonLines } from '../../contracts/json-lines.ts';
import { seal } from '../../contracts/sealing.ts';

/** Longest answer that is no stream; a state with a thousand cached models is about 100 KB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** A runtime answers these at once; one that doesn't is broken. */
const ANSWER_TIMEOUT_MS = 2_000;

/**
 * Client of one runtime's admin port (contracts/admin.ts). Every method throws `PilotlightError`: the code that
 * the runtime sent, or `replica-failed` when it can't be reached or breaks off.
 */
export class RuntimeAdmin {
  readonly #base: { host: string; port: number };
  readonly #token: () => string;
  /** Of the process that answered last; another one has another. */
  #sealingKey: string | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });

  /** @param token is asked for each call, so that one which ends can be renewed in time. */
  constructor(base: { host: string; port: number }, token: () => string) {
    this.#base = base;
    this.#token = token;
  }

  /** Ends idle connections; the client must not be used afterwards. */
  close(): void {
    this.#agent.destroy();
  }

  async state(): Promise<RuntimeState> {
    const answer = await this.#call('GET', ADMIN_PATHS.state, undefined, ANSWER_TIMEOUT_MS);
    const state = runtimeStateSchema.parse(await readJson(answer));
    this.#sealingKey = state.sealingKey;
    return state;
  }

  /** Resolves with the terminal event; `onEvent` sees each one, that one included. */
  async specialise(
    body: SpecialiseRequest,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent> {
    const answer = await this.#order(body);
    const lines = new JsonLines();
    let last: SpecialiseEvent | undefined;
    try {
      for await (const chunk of answer) {
        for (const value of lines.push(chunk as Buffer)) {
          const event = specialiseEventSchema.parse(value);
          onEvent(event);
          if (event.event === 'ready' || event.event === 'failed') last = event;
        }
        if (last !== undefined) return last;
      }
    } catch (error) {
      throw unreachable('broke off while it took its model', error);
    }
    throw unreachable('ended its answer before it was ready', undefined);
  }

  /** Nobody but the process itself can read the credentials; a claim that has none goes out in this very turn. */
  async #order(body: SpecialiseRequest): Promise<IncomingMessage> {
    const { access, ...model } = body.model;
    // The runtime keeps the start timeout; this one only catches a runtime that hangs as a whole.
    const timeoutMs = body.startTimeoutMs + 5_000;
    if (access === undefined) return this.#call('POST', ADMIN_PATHS.specialise, body, timeoutMs);
    const send = (key: string): Promise<IncomingMessage> => {
      const sealedAccess = seal(JSON.stringify(access), key, body.claimId);
      return this.#call(
        'POST',
        ADMIN_PATHS.specialise,
        { ...body, model: { ...model, sealedAccess } },
        timeoutMs,
      );
    };
    const known = this.#sealingKey;
    if (known === undefined) return send(await this.#askSealingKey());
    try {
      return await send(known);
    } catch (error) {
      if (!(error instanceof PilotlightError) || error.code !== 'invalid-request') throw error;
      // The process was replaced since it was asked.
      const key = await this.#askSealingKey();
      if (key === known) throw error;
      return send(key);
    }
  }

  async #askSealingKey(): Promise<string> {
    const { sealingKey } = await this.state();
    if (sealingKey !== undefined) return sealingKey;
    throw new PilotlightError(
      'replica-failed',
      'the runtime shows no key to seal credentials with: it is of an earlier version, end it',
    );
  }

  async drain(body: ClaimRequest): Promise<boolean> {
    const answer = await this.#call('POST', ADMIN_PATHS.drain, body, body.deadlineMs + ANSWER_TIMEOUT_MS);
    const parsed = (await readJson(answer)) as { drained?: unknown };
    return parsed.drained === true;
  }

  async recycle(body: ClaimRequest): Promise<void> {
    const answer = await this.#call('POST', ADMIN_PATHS.recycle, body, ANSWER_TIMEOUT_MS);
    answer.resume();
  }

  /** Whether callers may come straight to the runtime. */
  async callers(body: CallersRequest): Promise<void> {
    const answer = await this.#call('POST', ADMIN_PATHS.callers, body, ANSWER_TIMEOUT_MS);
    answer.resume();
  }

  #call(method: string, path: string, body: unknown, timeoutMs: number): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const call = request({
        ...this.#base,
        agent: this.#agent,
        method,
        path,
        timeout: timeoutMs,
        headers: {
          authorization: `Bearer ${this.#token()}`,
          ...(payload && { 'content-type': 'application/json', 'content-length': payload.length }),
        },
      });
      call.on('timeout', () => call.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      call.on('error', (error) => reject(unreachable('did not answer', error)));
      call.on('response', (answer) => {
        if (answer.statusCode !== undefined && answer.statusCode < 300) resolve(answer);
        else refusal(answer).then(reject, reject);
      });
      call.end(payload);
    });
  }
}

function unreachable(what: string, cause: unknown): PilotlightError {
  const detail = cause instanceof Error ? `: ${cause.message}` : '';
  return new PilotlightError('replica-failed', `the replica ${what}${detail}`, { cause });
}

async function refusal(answer: IncomingMessage): Promise<PilotlightError> {
  const code = answer.headers[HEADERS.error];
  const body = (await readJson(answer).catch(() => ({}))) as { error?: unknown };
  const message = typeof body.error === 'string' ? body.error : `the runtime answered ${answer.statusCode}`;
  return new PilotlightError(isErrorCode(code) ? code : 'replica-failed', message);
}

async function readJson(answer: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_ANSWER_BYTES) {
      answer.destroy();
      throw new PilotlightError('replica-failed', 'the answer of the replica is longer than 4 MiB');
    }
    chunks.push(chunk as Buffer);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
}
