import { type PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { NODE_WAIT_MS, type ServiceRoute } from '../../contracts/routes.ts';
import { findService, isInferenceCall, normaliseHost } from '../core/match.ts';
import * as refusals from '../core/refusals.ts';
import { type AttemptEnd, afterAttempt, MAX_HELD_BYTES } from '../core/retry.ts';
import type { Ticket, Waiter } from '../core/ticket.ts';
import { coldAnswerOf, ticketTimes } from '../core/ticket-times.ts';
import type { Caller, CallerEvents } from './caller.ts';
import type { ProxyContext } from './context.ts';
import { requestHeaders, responseHeaders, serverTiming } from './headers.ts';
import { answerOwnPath } from './own-paths.ts';
import { refusalIn } from './refusal-in-words.ts';
import { answerJson, refuse } from './refuse.ts';
import { RequestBody } from './request-body.ts';
import type { OutgoingRequest, UpstreamFailure, UpstreamHandler, UpstreamStream } from './upstream.ts';

/**
 * The life of one request: find its service, take a ticket, wait, hand over to a replica, pass the answer on.
 *
 * ```
 * waiting ──placed──► asking ──head──► answering ──end──► over
 *    ▲                  │
 *    └───── again ──────┘   (core/retry.ts says when; or a small body was not there when its turn came)
 * ```
 * Whatever ends it goes through `#finish`, which gives back what the ticket holds.
 */
export class Exchange implements Waiter, CallerEvents, UpstreamHandler {
  readonly #context: ProxyContext;
  readonly #caller: Caller;
  readonly #startedAtMs: number;
  readonly #body: RequestBody;
  #state: 'new' | 'waiting' | 'asking' | 'answering' | 'over' = 'new';
  #listens = false;
  #service: ServiceRoute | undefined;
  #path = '/';
  #ticket: Ticket | undefined;
  #stream: UpstreamStream | undefined;
  /** Start timeout while waiting; the replica's time afterwards; the client's while it takes nothing. */
  #timer: NodeJS.Timeout | undefined;
  /** Takes back that it waits for routes. */
  #forgetRoutes: (() => void) | undefined;
  /** Runs when the body did not come with what came in this turn of the event loop. */
  #bodyCheck: NodeJS.Immediate | undefined;
  #lastActivityMs = 0;
  #clientStalls = false;
  #unsentRetries = 0;
  #sentRetries = 0;
  #staleRetries = 0;
  #status = 0;

  constructor(context: ProxyContext, caller: Caller) {
    this.#context = context;
    this.#caller = caller;
    this.#startedAtMs = context.now();
    this.#body = new RequestBody(caller, context.limits, () => this.#onSlowBody());
  }

  start(): void {
    const { dispatcher, demand } = this.#context;
    if (this.#caller.method === 'CONNECT') {
      this.#refuse(refusals.badFraming('CONNECT asks for a tunnel, which is not to be had here'));
      return;
    }
    const match = findService(dispatcher.table, this.#caller.host, this.#caller.path);
    if (match.kind === 'unknown') {
      const own = answerOwnPath(this.#caller, this.#context.isReady());
      if (own !== undefined) this.#answerOwn(own.status, own.body);
      else if (this.#context.areRoutesCurrent()) this.#refuse(refusals.unknownService(match.message));
      else this.#awaitRoutes(match.message);
      return;
    }
    clearTimeout(this.#timer);
    this.#service = match.service;
    this.#path = match.path;
    // Of a body without a length no more is held than this while it waits.
    const sizeBytes = this.#caller.bodyLength ?? MAX_HELD_BYTES;
    try {
      const { service, revision } = match;
      this.#ticket = dispatcher.arrive(service, sizeBytes, this, this.#startedAtMs, revision);
    } catch (error) {
      demand.touch();
      this.#refuse(toPilotlightError(error));
      return;
    }
    this.#listen();
    if (this.#ticket.state === 'placed') this.onPlaced();
    else {
      this.#caller.holdBack();
      this.#wait();
    }
  }

  #listen(): void {
    if (this.#listens) return;
    this.#listens = true;
    this.#caller.listen(this);
  }

  /**
   * An activator that has just started knows no service yet, and one without its controller does not know those that
   * came since: what seems unknown waits for the routes.
   */
  #awaitRoutes(unknown: string): void {
    this.#listen();
    const context = this.#context;
    const leftMs = this.#startedAtMs + context.limits.routesWaitMs - context.now();
    this.#setTimer(leftMs, () =>
      this.#refuse(context.isReady() ? refusals.outOfTouch(unknown) : refusals.notReady()),
    );
    this.#forgetRoutes = context.onceRoutesCurrent(() => {
      if (this.#state === 'new') this.start();
    });
  }

  onPlaced(): void {
    clearTimeout(this.#timer);
    this.#context.demand.touch();
    this.#attempt();
  }

  onRefused(error: PilotlightError): void {
    this.#refuse(error);
  }

  onBody(chunk: Buffer): void {
    this.#lastActivityMs = this.#context.now();
    this.#body.take(
      chunk,
      this.#state === 'asking' || this.#state === 'answering' ? this.#stream : undefined,
    );
  }

  onBodyEnd(trailers: string[]): void {
    this.#body.finish(trailers);
    clearImmediate(this.#bodyCheck);
    if (this.#stream !== undefined) this.#body.sendEnd(this.#stream);
    else if (this.#state === 'asking') this.#open();
    else if (this.#ticket?.state === 'arriving') this.#takeTurn(this.#ticket);
  }

  /** The client takes more of its answer. */
  onClientDrain(): void {
    if (!this.#clientStalls) return;
    this.#clientStalls = false;
    this.#lastActivityMs = this.#context.now();
    this.#armAnswerTimer();
    this.#stream?.resume();
  }

  onGone(): void {
    if (this.#state === 'over') return;
    this.#status = 499;
    this.#finish(true);
  }

  onUpstreamDrain(): void {
    this.#body.drained();
  }

  onReady(): void {
    if (this.#stream !== undefined) this.#body.sendTo(this.#stream);
  }

  onHead(status: number, statusText: string, headers: string[]): void {
    const ticket = this.#ticket;
    if (ticket === undefined || this.#service === undefined) return;
    const refusedAs = refusalIn(status, headers, ticket.revision?.route.kind);
    if (refusedAs !== undefined && this.#retry('misdirected', refusedAs)) return;
    const nowMs = this.#context.now();
    this.#context.dispatcher.worked(ticket);
    if (status === 200 && isInferenceCall(this.#caller.method, this.#path)) {
      this.#context.dispatcher.inferred(ticket, nowMs);
    }
    this.#noteColdAnswer(ticket, nowMs);
    this.#state = 'answering';
    this.#status = status;
    this.#lastActivityMs = nowMs;
    this.#body.answerBegan();
    const out = responseHeaders(headers);
    out.push('server-timing', this.#timing(nowMs));
    this.#caller.respond(status, statusText, out, this.#context.isDraining() || this.#hasMoved());
    if (status === 101 && this.#stream !== undefined) this.#body.tunnelTo(this.#stream);
  }

  onData(chunk: Buffer): void {
    this.#caller.write(chunk);
  }

  onPause(): void {
    if (this.#state !== 'answering') return;
    this.#caller.flush();
    if (!this.#caller.needsDrain || this.#clientStalls) {
      this.#lastActivityMs = this.#context.now();
      return;
    }
    this.#clientStalls = true;
    this.#stream?.pause();
    this.#setTimer(this.#context.limits.stallMs, () =>
      this.#cutOff('the client takes nothing of its answer'),
    );
  }

  onEnd(trailers: string[]): void {
    if (this.#state !== 'answering') return;
    this.#stream = undefined;
    try {
      this.#caller.end(trailers);
    } finally {
      this.#finish(false);
    }
  }

  onFailure(failure: UpstreamFailure): void {
    this.#stream = undefined;
    const { metrics } = this.#context;
    if (this.#service !== undefined) metrics.upstreamFailed(this.#service, failure.kind);
    if (this.#state === 'answering') {
      this.#cutOff(failure.reason, failure.resetCode);
      return;
    }
    let { kind } = failure;
    if (kind === 'protocol' && this.#ticket?.endpoint !== undefined) {
      this.#context.upstreams.noHttp2(this.#ticket.endpoint);
      // gRPC has no other protocol to fall back to.
      if (this.#caller.isGrpc) kind = 'broken';
    }
    if (this.#retry(kind, failure.reason)) return;
    if (this.#service !== undefined) this.#refuse(refusals.replicaFailed(this.#service, failure.reason));
  }

  #wait(): void {
    const service = this.#service;
    if (service === undefined) return;
    this.#state = 'waiting';
    this.#context.demand.urgent();
    this.#armStartTimer(service, 0);
  }

  /** While a node is being added for its revision the request's time to wait begins anew, see NODE_WAIT_MS. */
  #armStartTimer(service: ServiceRoute, waitedMs: number): void {
    this.#setTimer(service.startTimeoutMs, () => {
      const route = this.#ticket?.revision?.route;
      const soFarMs = waitedMs + service.startTimeoutMs;
      if (route?.waitsForNode === true && soFarMs < NODE_WAIT_MS) this.#armStartTimer(service, soFarMs);
      else this.#refuse(refusals.startTimeout(service, route?.startingPhase));
    });
  }

  /**
   * A permit is held: have the body at hand where it is small, then ask the replica. A body that comes in one packet
   * with its head is there in this very turn of the event loop; one that doesn't may take as long as its client
   * likes, and doesn't keep the permit meanwhile.
   */
  #attempt(): void {
    this.#state = 'asking';
    this.#stream = undefined;
    this.#lastActivityMs = this.#context.now();
    this.#armAnswerTimer();
    if (this.#body.isReadFirst && !this.#body.isWhole) {
      this.#body.read();
      this.#bodyCheck = setImmediate(() => this.#awaitBody());
    } else this.#open();
  }

  #awaitBody(): void {
    const ticket = this.#ticket;
    if (this.#state !== 'asking' || ticket === undefined) return;
    this.#state = 'waiting';
    // Whoever is too slow is found out by the body's own window.
    clearTimeout(this.#timer);
    this.#context.dispatcher.awaitBody(ticket, this.#context.now());
    this.#context.demand.touch();
  }

  #takeTurn(ticket: Ticket): void {
    this.#context.dispatcher.bodyCame(ticket, this.#context.now());
    if (ticket.state === 'queued') this.#wait();
  }

  #open(): void {
    const { upstreams, instanceId } = this.#context;
    const { endpoint, revision } = this.#ticket ?? {};
    if (endpoint === undefined || revision === undefined || this.#service === undefined) return;
    const caller = this.#caller;
    let headers: string[];
    try {
      headers = requestHeaders(caller, {
        serviceUid: this.#service.uid,
        revision: revision.route.name,
        activator: instanceId,
      });
    } catch (error) {
      this.#refuse(toPilotlightError(error));
      return;
    }
    const request: OutgoingRequest = {
      method: caller.method,
      path: this.#path,
      authority: caller.host === '' ? endpoint.address : caller.host,
      headers,
      bodyLength: this.#body.knownLength,
      expectContinue: !this.#body.isReadFirst && !caller.isGrpc && revision.route.kind === 'runtime',
      ...(caller.upgrade === undefined ? {} : { upgrade: caller.upgrade }),
    };
    let stream: UpstreamStream;
    try {
      stream = upstreams.open(endpoint, caller.isGrpc ? 'grpc' : caller.protocol, request, this);
    } catch (error) {
      // What a protocol's own library refuses to send ends this request and nothing else.
      this.#refuse(refusals.badFraming(error instanceof Error ? error.message : String(error)));
      return;
    }
    this.#stream = stream;
    if (this.#body.isReadFirst) this.#body.sendTo(stream);
  }

  /** Gives the request another chance where the rules allow it. */
  #retry(end: AttemptEnd, reason: string): boolean {
    const { dispatcher, demand, metrics } = this.#context;
    const ticket = this.#ticket;
    const service = this.#service;
    if (ticket?.endpoint === undefined || service === undefined) return false;
    const retryKind = afterAttempt({
      end,
      method: this.#caller.method,
      inference: isInferenceCall(this.#caller.method, this.#path),
      retryAll: service.retryAll,
      bodyHeld: this.#body.isHeld,
      unsentRetries: this.#unsentRetries,
      sentRetries: this.#sentRetries,
      staleRetries: this.#staleRetries,
    });
    if (end !== 'stale' && end !== 'protocol') demand.suspect(ticket.endpoint.id, reason);
    if (retryKind === 'no') return false;
    metrics.retried(service, end);
    if (end === 'stale') this.#staleRetries++;
    else if (end === 'broken') this.#sentRetries++;
    else this.#unsentRetries++;
    this.#stream?.abandon(() => undefined);
    this.#stream = undefined;
    this.#body.rewind();
    if (retryKind === 'here') {
      this.#attempt();
      return true;
    }
    // The place in the queue comes first: `again` may hand it a permit at once, through `onPlaced`.
    this.#wait();
    const { revision } = ticket;
    const coolMs = dispatcher.again(ticket, true, this.#context.now());
    if (coolMs > 0 && revision !== undefined) {
      setTimeout(() => dispatcher.drain(revision, this.#context.now()), coolMs + 1).unref();
    }
    return true;
  }

  #armAnswerTimer(): void {
    const service = this.#service;
    if (service === undefined) return;
    const leftMs = service.requestTimeoutMs - (this.#context.now() - this.#lastActivityMs);
    this.#setTimer(Math.max(1, leftMs), () => {
      const idleMs = this.#context.now() - this.#lastActivityMs;
      if (idleMs + 1 < service.requestTimeoutMs) this.#armAnswerTimer();
      else this.#onAnswerTimeout(service);
    });
  }

  #onAnswerTimeout(service: ServiceRoute): void {
    if (this.#state !== 'answering') {
      this.#refuse(refusals.requestTimeout(service));
      return;
    }
    if (this.#caller.upgrade === undefined) this.#cutOff(refusals.requestTimeout(service).message);
  }

  /** Ends an answer in its middle. */
  #cutOff(reason: string, resetCode?: number): void {
    if (this.#service === undefined) return;
    const error = refusals.replicaFailed(this.#service, reason);
    this.#finish(true);
    this.#caller.abort(resetCode === undefined ? { error } : { error, resetCode });
  }

  #onSlowBody(): void {
    const isAwaited = this.#state === 'asking' || this.#ticket?.state === 'arriving';
    if (isAwaited) this.#refuse(refusals.bodyTimeout(this.#context.limits.bodyWindowMs));
  }

  #answerOwn(status: number, body: unknown): void {
    this.#status = status;
    answerJson(this.#caller, status, body, [], this.#context.isDraining());
    this.#finish(false);
  }

  #refuse(error: PilotlightError): void {
    if (this.#state === 'over') return;
    this.#status = error.status;
    const timing = this.#service === undefined ? undefined : this.#timing(this.#context.now());
    const stream = this.#stream;
    // Who sends its body byte by byte would hold the connection for as long as it likes.
    const isLast = this.#context.isDraining() || error.code === 'body-timeout';
    this.#context.metrics.refused(this.#service, error.code);
    refuse(this.#caller, error, timing, isLast);
    this.#stream = stream;
    this.#finish(true);
  }

  /** @param abandon whether a request may still be under way at a replica. */
  #finish(abandon: boolean): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#timer);
    clearImmediate(this.#bodyCheck);
    this.#forgetRoutes?.();
    this.#body.stop();
    const { dispatcher, demand, metrics } = this.#context;
    const ticket = this.#ticket;
    const nowMs = this.#context.now();
    const queuedMs = ticket === undefined ? 0 : ticket.placedAtMs - ticket.arrivedAtMs;
    metrics.requestDone(this.#service, this.#status, nowMs - this.#startedAtMs, queuedMs);
    if (ticket === undefined) return;
    const giveBack = (): void => {
      dispatcher.leave(ticket, this.#context.now());
      demand.touch();
    };
    if (abandon && this.#stream !== undefined) this.#stream.abandon(giveBack);
    else giveBack();
  }

  /** Callers of this name reach the replicas themselves by now: this one comes over a connection from before. */
  #hasMoved(): boolean {
    const { directHosts } = this.#ticket?.service.route ?? {};
    return directHosts !== undefined && directHosts.includes(normaliseHost(this.#caller.host));
  }

  #noteColdAnswer(ticket: Ticket, nowMs: number): void {
    const answer = coldAnswerOf(ticket, nowMs);
    if (ticket.endpoint !== undefined) ticket.endpoint.answered = true;
    if (answer !== undefined) this.#context.demand.coldAnswer(answer, ticket.arrivedAtMs);
  }

  #timing(nowMs: number): string {
    if (this.#ticket === undefined) return serverTiming(0, 0, 0);
    const { queueMs, startMs, upstreamMs } = ticketTimes(this.#ticket, nowMs);
    return serverTiming(queueMs, startMs, upstreamMs);
  }

  #setTimer(delayMs: number, callback: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(callback, delayMs);
  }
}
