import type { ClientRequest, IncomingMessage } from 'node:http';
import { JsonLines } from '../../contracts/json-lines.ts';
import {
  ROUTES_PATH,
  ROUTES_SILENCE_MS,
  type RoutesMessage,
  routesMessageSchema,
} from '../../contracts/routes.ts';
import type { Logger } from '../../process/logger.ts';
import type { ControlClient } from './control-client.ts';

const FIRST_BACKOFF_MS = 25;
const LONGEST_BACKOFF_MS = 500;
/** From one controller on to another without a pause: any one, a leader that is gone by now, any one, the leader. */
const MAX_HOPS = 3;

export interface RoutesClientOptions {
  control: ControlClient;
  /** Who asks: identity in demand reports, and the pod where it runs in one. */
  activator: string;
  pod?: string;
  logger: Logger;
  random: () => number;
  onMessage(message: RoutesMessage): void;
  /** The stream has broken off: what was received stays in force, and may no longer be all. */
  onLost?(): void;
  /** Default: the contract's. */
  silenceMs?: number;
}

/** Why an attempt is over: the controller is gone, it said something else than wanted, or it leads no more. */
type End = 'gone' | 'refused' | 'moved';
type OnOver = (reason: string, end: End) => void;

/** The message was not the next one: something was missed, so what we have can't be trusted to follow on. */
class RoutesGapError extends Error {
  override readonly name = 'RoutesGapError';
}

/**
 * Holds the stream of routes: connects, takes up where it left off, and connects again after an end, an error
 * or silence, and when the lead has moved. What was received stays in force meanwhile.
 */
export class RoutesClient {
  readonly #options: RoutesClientOptions;
  #request: ClientRequest | undefined;
  #silence: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #onMoved: () => void = () => undefined;
  #failures = 0;
  #hops = 0;
  #stream: string | undefined;
  #number = -1;
  #stopped = false;

  constructor(options: RoutesClientOptions) {
    this.#options = options;
    options.control.onMoved(() => this.#onMoved());
  }

  get number(): number {
    return this.#number;
  }

  start(): void {
    const { activator, pod } = this.#options;
    const query = new URLSearchParams({ activator, ...(pod === undefined ? {} : { pod }) });
    if (this.#stream !== undefined) {
      query.set('stream', this.#stream);
      query.set('after', String(this.#number));
    }
    const path = `${ROUTES_PATH}?${query.toString()}`;
    const { control } = this.#options;
    const asked = control.target;
    const { era } = control;
    let over = false;
    const onOver: OnOver = (reason, end) => {
      if (over) return;
      over = true;
      request.destroy();
      if (end === 'gone') control.leave(asked);
      this.#again(reason, { end, isElsewhere: end === 'moved' || control.target !== asked });
    };
    this.#onMoved = () => {
      if (control.isConfirmed && control.era !== era) onOver('another controller leads', 'moved');
    };
    const request = control.request('GET', path, {}, (response) => {
      this.#read(response, onOver);
    });
    request.on('error', (error: NodeJS.ErrnoException) => onOver(error.code ?? error.message, 'gone'));
    request.on('close', () => onOver('the connection was closed', 'gone'));
    request.end();
    this.#request = request;
    this.#listenForSilence(onOver);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#silence);
    clearTimeout(this.#retry);
    this.#request?.destroy();
  }

  #read(response: IncomingMessage, onOver: OnOver): void {
    if (response.statusCode !== 200) {
      response.resume();
      onOver(`the controller answered ${response.statusCode}`, 'refused');
      return;
    }
    const lines = new JsonLines();
    response.on('data', (chunk: Buffer) => {
      if (this.#stopped) return;
      this.#listenForSilence(onOver);
      try {
        for (const value of lines.push(chunk)) this.#take(value);
      } catch (error) {
        if (error instanceof RoutesGapError) this.#stream = undefined;
        onOver(error instanceof Error ? error.message.slice(0, 500) : String(error), 'refused');
      }
    });
    response.on('error', () => undefined);
    response.on('end', () => onOver('the controller ended the stream', 'gone'));
  }

  /** @throws ZodError, RoutesGapError */
  #take(value: unknown): void {
    const message = routesMessageSchema.parse(value);
    if (message.type === 'snapshot') this.#stream = message.stream;
    else if (message.type === 'heartbeat') {
      if (message.number !== this.#number) throw new RoutesGapError(this.#gap(message.number));
    } else if (message.number !== this.#number + 1) throw new RoutesGapError(this.#gap(message.number));
    this.#number = message.number;
    if (this.#failures > 0) this.#options.logger.info({ number: message.number }, 'routes stream is back');
    this.#failures = 0;
    this.#hops = 0;
    this.#options.onMessage(message);
  }

  #gap(number: number): string {
    return `expected the routes change after ${this.#number}, got ${number}`;
  }

  #listenForSilence(onOver: OnOver): void {
    clearTimeout(this.#silence);
    const silenceMs = this.#options.silenceMs ?? ROUTES_SILENCE_MS;
    this.#silence = setTimeout(() => onOver(`nothing heard for ${silenceMs} ms`, 'gone'), silenceMs);
  }

  #again(reason: string, { end, isElsewhere }: { end: End; isElsewhere: boolean }): void {
    clearTimeout(this.#silence);
    this.#onMoved = () => undefined;
    if (this.#stopped) return;
    this.#options.onLost?.();
    const mayHop = isElsewhere && this.#hops < MAX_HOPS;
    if (mayHop) this.#hops++;
    else this.#hops = 0;
    if (mayHop && end !== 'gone') {
      this.#retry = setTimeout(() => this.start(), 0);
      return;
    }
    // Said once for each absence, not for each attempt.
    if (this.#failures === 0)
      this.#options.logger.warn({ reason }, 'routes stream lost, serving on with the last routes');
    const longest = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#retry = setTimeout(() => this.start(), mayHop ? 0 : longest * (0.5 + this.#options.random() / 2));
  }
}
