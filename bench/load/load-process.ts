import { LoadConnection } from './load-connection.ts';
import type { FromLoad, LoadOutcome, ToLoad } from './messages.ts';

/**
 * The load generator, a process of its own so that measuring takes nothing from the event loop of whoever
 * measures. Raw sockets, one request whose bytes are made once, answers of which only the head is read: about
 * 20 µs of CPU a request, so it isn't what limits a model of 1 ms. Autocannon, the usual tool, keeps
 * latencies in whole milliseconds, too coarse for a goal of 0.5 ms.
 */
const MAX_LATENCIES = 5_000_000;
/** So that 2,000 connections don't overflow the server's backlog of 511 and wait a second for a retransmission. */
const FIRST_SENDS_AT_ONCE = 50;
/** After a failure, so that a server that refuses everything isn't drowned in what it refuses. */
const PAUSE_AFTER_FAILURE_MS = 10;

const tell = (message: FromLoad): void => void process.send?.(message);

class Load {
  readonly #start: ToLoad & { kind: 'start' };
  readonly #connections = new Set<LoadConnection>();
  readonly #busy = new Set<LoadConnection>();
  readonly #idle: LoadConnection[] = [];
  #latencies = new Float64Array(1024);
  #succeeded = 0;
  readonly #failed: Record<string, number> = {};
  #sent = 0;
  #wanted: number;
  #stopping = false;
  /** When requests became due that no connection was free for. */
  readonly #due: number[] = [];
  #pacing: NodeJS.Timeout | undefined;
  readonly #startedMs = performance.now();
  readonly #cpuBefore = process.cpuUsage();
  #lastFailed = false;

  constructor(start: ToLoad & { kind: 'start' }) {
    this.#start = start;
    this.#wanted = start.connections;
    if (start.ratePerSecond !== undefined) this.#pace(start.ratePerSecond);
    this.#grow();
  }

  setConnections(count: number): void {
    this.#wanted = count;
    this.#grow();
  }

  stop(): void {
    this.#stopping = true;
    clearInterval(this.#pacing);
    this.#due.length = 0;
    this.#endIfOver();
  }

  /** Opens some connections, and more in the next turns of the event loop. */
  #grow(): void {
    for (let opened = 0; opened < FIRST_SENDS_AT_ONCE && this.#connections.size < this.#wanted; opened++) {
      const connection = new LoadConnection(this.#start.target, {
        succeeded: (latencyMs) => this.#record(latencyMs),
        failed: (what) => {
          this.#lastFailed = true;
          this.#failed[what] = (this.#failed[what] ?? 0) + 1;
        },
        idle: (free) => this.#free(free),
      });
      this.#connections.add(connection);
      this.#next(connection);
    }
    if (this.#connections.size < this.#wanted && !this.#stopping) setTimeout(() => this.#grow(), 2);
  }

  #free(connection: LoadConnection): void {
    this.#busy.delete(connection);
    if (this.#connections.size > this.#wanted) {
      this.#connections.delete(connection);
      connection.close();
      this.#endIfOver();
      return;
    }
    const failed = this.#lastFailed;
    this.#lastFailed = false;
    if (failed) setTimeout(() => this.#next(connection), PAUSE_AFTER_FAILURE_MS);
    else this.#next(connection);
  }

  #next(connection: LoadConnection): void {
    const isEnough = this.#start.limit !== undefined && this.#sent >= this.#start.limit;
    if (this.#stopping || isEnough) {
      this.#endIfOver();
      return;
    }
    if (this.#start.ratePerSecond === undefined) {
      this.#send(connection);
      return;
    }
    const sinceMs = this.#due.shift();
    if (sinceMs === undefined) this.#idle.push(connection);
    else this.#send(connection, sinceMs);
  }

  #send(connection: LoadConnection, sinceMs?: number): void {
    this.#sent++;
    this.#busy.add(connection);
    connection.send(sinceMs);
  }

  /**
   * Sends by the clock, whatever the answers do. A request that no connection is free for counts from when it
   * was due, so that a server can't look fast by being slow to take the next one.
   */
  #pace(ratePerSecond: number): void {
    let paced = 0;
    this.#pacing = setInterval(() => {
      const now = performance.now();
      const owed = Math.floor(((now - this.#startedMs) / 1000) * ratePerSecond) - paced;
      paced += owed;
      for (let n = 0; n < owed; n++) {
        const connection = this.#idle.pop();
        if (connection === undefined) this.#due.push(now);
        else this.#send(connection, now);
      }
    }, 1);
  }

  #record(latencyMs: number): void {
    if (this.#succeeded === this.#latencies.length && this.#succeeded < MAX_LATENCIES) {
      const larger = new Float64Array(Math.min(MAX_LATENCIES, this.#latencies.length * 2));
      larger.set(this.#latencies);
      this.#latencies = larger;
    }
    if (this.#succeeded < this.#latencies.length) this.#latencies[this.#succeeded] = latencyMs;
    this.#succeeded++;
  }

  #endIfOver(): void {
    const isOver = this.#stopping || (this.#start.limit !== undefined && this.#sent >= this.#start.limit);
    if (!isOver || this.#busy.size > 0) return;
    if (load !== this) return;
    load = undefined;
    clearInterval(this.#pacing);
    for (const connection of this.#connections) connection.close();
    const cpu = process.cpuUsage(this.#cpuBefore);
    const outcome: LoadOutcome = {
      succeeded: this.#succeeded,
      failed: this.#failed,
      latenciesMs: this.#latencies.slice(0, Math.min(this.#succeeded, this.#latencies.length)),
      durationMs: performance.now() - this.#startedMs,
      cpuMs: (cpu.user + cpu.system) / 1000,
    };
    tell({ kind: 'outcome', outcome });
  }
}

let load: Load | undefined;

process.on('message', (message: ToLoad) => {
  if (message.kind === 'start') load = new Load(message);
  else if (message.kind === 'connections') load?.setConnections(message.count);
  else load?.stop();
});
process.on('disconnect', () => process.exit(0));
tell({ kind: 'ready' });
