import type { ColdAnswer } from '../../contracts/cold-start.ts';
import { DEMAND_INTERVAL_MS, DEMAND_PATH, type DemandReport } from '../../contracts/demand.ts';
import type { Logger } from '../../process/logger.ts';
import type { DemandCounter } from '../core/demand-book.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import type { DemandSink } from '../proxy/context.ts';
import type { ControlClient } from './control-client.ts';

const MAX_COLD_ANSWERS = 1_000;
const MAX_SUSPECTS = 200;
const POST_TIMEOUT_MS = 1_000;
const FIRST_BACKOFF_MS = 10;
/** While something waits, a controller that comes back must hear of it within its next 100 ms. */
const WAITING_BACKOFF_MS = 50;
const IDLE_BACKOFF_MS = 1_000;
/** From one controller on to another without a pause: any one, a leader that is gone by now, any one, the leader. */
const MAX_HOPS = 3;

export interface DemandReporterOptions {
  control: ControlClient;
  dispatcher: Dispatcher;
  logger: Logger;
  activator: string;
  now: () => number;
  onPost(ok: boolean): void;
}

/**
 * Tells the controller what is wanted: each 100 ms while there is traffic, at the end of the turn in which a
 * request found no room, and once with zeros when traffic ends. Counters are cumulative, so a report that is
 * lost or comes twice does no harm; what must not be lost is kept until a report with it was taken. When the lead
 * moves, what was on its way to the controller before goes to the new one at once.
 */
export class DemandReporter implements DemandSink {
  readonly #options: DemandReporterOptions;
  readonly #startedAtMs: number;
  /** Version of each counter that the controller has heard. */
  readonly #heard = new WeakMap<DemandCounter, number>();
  #coldAnswers: { answer: Omit<ColdAnswer, 'arrivedAgoMs'>; arrivedAtMs: number }[] = [];
  readonly #suspects = new Map<string, string>();
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueAtMs = Infinity;
  #immediate: NodeJS.Immediate | undefined;
  #posting = false;
  #urgentAgain = false;
  #failures = 0;
  #hops = 0;
  #giveUp: () => void = () => undefined;
  #stopped = false;

  constructor(options: DemandReporterOptions) {
    this.#options = options;
    this.#startedAtMs = options.now();
    options.control.onMoved(() => this.#onMoved());
  }

  touch(): void {
    if (this.#timer === undefined && !this.#posting) this.#schedule(DEMAND_INTERVAL_MS);
  }

  urgent(): void {
    if (this.#immediate !== undefined || this.#stopped) return;
    if (this.#posting) {
      this.#urgentAgain = true;
      return;
    }
    if (this.#failures > 0) {
      this.#schedule(WAITING_BACKOFF_MS);
      return;
    }
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      this.#post();
    });
  }

  coldAnswer(answer: Omit<ColdAnswer, 'arrivedAgoMs'>, arrivedAtMs: number): void {
    if (this.#coldAnswers.length < MAX_COLD_ANSWERS) this.#coldAnswers.push({ answer, arrivedAtMs });
    this.touch();
  }

  suspect(endpointId: string, reason: string): void {
    if (this.#suspects.size < MAX_SUSPECTS || this.#suspects.has(endpointId)) {
      this.#suspects.set(endpointId, reason);
    }
    this.urgent();
  }

  /** Sends what is owed, waits for it as long as a report may take, and sends nothing afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    if (this.#failures > 0 || !this.#owes()) return;
    const { control } = this.#options;
    const asked = control.target;
    const sendLast = (): Promise<boolean> => {
      return new Promise((resolve) => {
        this.#send(this.#report(), resolve);
      });
    };
    if (!(await sendLast()) && control.target !== asked) await sendLast();
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    const dueAtMs = this.#options.now() + delayMs;
    if (this.#timer !== undefined && dueAtMs >= this.#dueAtMs) return;
    clearTimeout(this.#timer);
    this.#dueAtMs = dueAtMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#post();
    }, delayMs);
  }

  #onMoved(): void {
    if (this.#posting) this.#giveUp();
    else if (this.#failures > 0 && this.#owes()) this.#hop();
  }

  /** Calls again at once, somewhere else; a few times, so that controllers that name each other aren't chased. */
  #hop(): boolean {
    if (this.#hops >= MAX_HOPS) return false;
    this.#hops++;
    this.#schedule(0);
    return true;
  }

  #owes(): boolean {
    if (this.#coldAnswers.length > 0 || this.#suspects.size > 0) return true;
    for (const counter of this.#options.dispatcher.demand.all()) {
      if (counter.present > 0 || this.#isNews(counter)) return true;
    }
    return false;
  }

  #isNews(counter: DemandCounter): boolean {
    return (this.#heard.get(counter) ?? 0) !== counter.version;
  }

  #waiting(): boolean {
    for (const counter of this.#options.dispatcher.demand.all()) if (counter.queued > 0) return true;
    return false;
  }

  #post(): void {
    if (this.#posting || this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#owes()) return;
    this.#posting = true;
    const told = this.#report();
    const asked = this.#options.control.target;
    this.#send(told, (ok) => {
      this.#posting = false;
      this.#options.onPost(ok);
      if (ok) this.#onTaken(told);
      else this.#onFailed(this.#options.control.target !== asked);
    });
  }

  #onTaken(told: Told): void {
    if (this.#failures > 0) this.#options.logger.info('demand is heard again');
    this.#failures = 0;
    this.#hops = 0;
    for (const [counter, version] of told.versions) this.#heard.set(counter, version);
    this.#coldAnswers = this.#coldAnswers.slice(told.report.coldAnswers.length);
    for (const { endpointId, reason } of told.report.suspects) {
      if (this.#suspects.get(endpointId) === reason) this.#suspects.delete(endpointId);
    }
    const urgent = this.#urgentAgain;
    this.#urgentAgain = false;
    if (urgent) this.urgent();
    else if (this.#owes()) this.#schedule(DEMAND_INTERVAL_MS);
  }

  #onFailed(isElsewhere: boolean): void {
    this.#urgentAgain = false;
    if (isElsewhere && this.#hop()) return;
    this.#hops = 0;
    if (this.#failures === 0) this.#options.logger.warn('demand is not heard, trying again');
    const longestMs = this.#waiting() ? WAITING_BACKOFF_MS : IDLE_BACKOFF_MS;
    const backoffMs = Math.min(longestMs, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#schedule(backoffMs);
  }

  #report(): Told {
    const { dispatcher, activator, now } = this.#options;
    const nowMs = now();
    const versions = new Map<DemandCounter, number>();
    const revisions: DemandReport['revisions'] = [];
    for (const counter of dispatcher.demand.all()) {
      if (counter.present === 0 && !this.#isNews(counter)) continue;
      versions.set(counter, counter.version);
      revisions.push(dispatcher.demandOf(counter, nowMs));
    }
    const report: DemandReport = {
      activator,
      sequence: this.#sequence++,
      uptimeMs: nowMs - this.#startedAtMs,
      revisions,
      coldAnswers: this.#coldAnswers.map(({ answer, arrivedAtMs }) => ({
        ...answer,
        arrivedAgoMs: nowMs - arrivedAtMs,
      })),
      suspects: [...this.#suspects].map(([endpointId, reason]) => ({ endpointId, reason })),
    };
    return { report, versions };
  }

  #send({ report }: Told, done: (ok: boolean) => void): void {
    const { control } = this.#options;
    const asked = control.target;
    const body = Buffer.from(JSON.stringify(report));
    let over = false;
    const finish = (ok: boolean, isGone = false): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      this.#giveUp = () => undefined;
      if (isGone) control.leave(asked);
      done(ok);
    };
    const headers = { 'content-type': 'application/json', 'content-length': String(body.length) };
    const request = control.request('POST', DEMAND_PATH, headers, (response) => {
      response.resume();
      const { statusCode = 0 } = response;
      response.on('end', () => finish(statusCode >= 200 && statusCode < 300));
      response.on('error', () => finish(false, true));
    });
    const timer = setTimeout(() => request.destroy(new Error('timeout')), POST_TIMEOUT_MS);
    request.on('error', () => finish(false, true));
    request.on('close', () => finish(false, true));
    this.#giveUp = () => {
      if (control.target === asked) return;
      finish(false);
      request.destroy();
    };
    request.end(body);
  }
}

interface Told {
  report: DemandReport;
  versions: Map<DemandCounter, number>;
}
