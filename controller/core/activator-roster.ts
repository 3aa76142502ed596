/**
 * Which activators answer, as the controller itself knows it: by the stream of routes that each holds, and by the
 * reports that one with requests sends each 100 ms. A process that is killed is known here within a fraction of a
 * second; a kubelet's readiness probe takes several. Deterministic: time comes in as an argument.
 */
export class ActivatorRoster {
  readonly #activators = new Map<string, Known>();
  #lost: ReadonlySet<string> = new Set();
  #lostPods: ReadonlySet<string> = new Set();

  /** It holds a stream. @param pod Where it runs, if it says so. */
  connected(activator: string, pod: string | undefined, nowMs: number): void {
    const known = this.#known(activator, nowMs);
    known.streams++;
    known.heardAtMs = nowMs;
    if (pod !== undefined) known.pod = pod;
  }

  disconnected(activator: string, nowMs: number): void {
    const known = this.#activators.get(activator);
    if (known === undefined) return;
    known.streams = Math.max(0, known.streams - 1);
    known.endedAtMs = nowMs;
  }

  /** It has reported demand. @param isBusy Whether it has requests, so that the next report is due in 100 ms. */
  heard(activator: string, isBusy: boolean, nowMs: number): void {
    const known = this.#known(activator, nowMs);
    known.heardAtMs = nowMs;
    known.isBusy = isBusy;
  }

  /**
   * Judges who is lost now. When everybody is silent, it is the controller that hears nothing: all stays as it was.
   * @returns whether that has changed.
   */
  judge(nowMs: number): boolean {
    for (const [activator, { streams, endedAtMs, heardAtMs }] of this.#activators) {
      const lastMs = Math.max(endedAtMs, heardAtMs);
      if (streams === 0 && nowMs - lastMs > FORGET_AFTER_MS) this.#activators.delete(activator);
    }
    const silent = [...this.#activators].filter(([, known]) => isSilent(known, nowMs));
    const isAlone = silent.length > 0 && silent.length === this.#activators.size;
    const lost = isAlone
      ? [...this.#lost].filter((activator) => this.#activators.has(activator))
      : silent.map(([activator]) => activator);
    const isSame = sameMembers(this.#lost, new Set(lost));
    if (!isSame) this.#lost = new Set(lost);
    const pods = this.#podsOfLost();
    const isSamePods = sameMembers(this.#lostPods, pods);
    this.#lostPods = pods;
    return !isSame || !isSamePods;
  }

  /** Whether time alone may change the verdict, so that it is worth asking again. */
  get isInDoubt(): boolean {
    for (const { streams, isBusy } of this.#activators.values()) if (streams === 0 || isBusy) return true;
    return false;
  }

  isLost(activator: string): boolean {
    return this.#lost.has(activator);
  }

  /** Pods of which every activator that was ever heard was lost at the last judgement. */
  get lostPods(): ReadonlySet<string> {
    return this.#lostPods;
  }

  #podsOfLost(): Set<string> {
    const pods = new Set<string>();
    for (const [activator, { pod }] of this.#activators) {
      if (pod !== undefined && this.#lost.has(activator)) pods.add(pod);
    }
    for (const [activator, { pod }] of this.#activators) {
      if (pod !== undefined && !this.#lost.has(activator)) pods.delete(pod);
    }
    return pods;
  }

  #known(activator: string, nowMs: number): Known {
    let known = this.#activators.get(activator);
    if (known === undefined) {
      known = { pod: undefined, streams: 0, endedAtMs: nowMs, heardAtMs: nowMs, isBusy: false };
      this.#activators.set(activator, known);
      this.#makeRoom();
    }
    return known;
  }

  #makeRoom(): void {
    if (this.#activators.size <= MAX_ACTIVATORS) return;
    for (const [activator, { streams }] of this.#activators) {
      if (streams > 0) continue;
      this.#activators.delete(activator);
      return;
    }
  }
}

interface Known {
  pod: string | undefined;
  /** Streams that it holds; two for a moment while it takes up its stream again. */
  streams: number;
  endedAtMs: number;
  heardAtMs: number;
  isBusy: boolean;
}

/** One that has lost its stream and lives comes back after 12 to 25 ms, or reports within 100 ms if it is busy. */
const RETURN_MS = 150;
/** Seven reports in a row that have not come. */
const BUSY_SILENCE_MS = 700;
const FORGET_AFTER_MS = 60_000;
/** As many as may hold a stream, and as many again that have gone. */
const MAX_ACTIVATORS = 2_000;

function isSilent({ streams, endedAtMs, heardAtMs, isBusy }: Known, nowMs: number): boolean {
  const silentMs = nowMs - heardAtMs;
  if (isBusy && silentMs >= BUSY_SILENCE_MS) return true;
  return streams === 0 && nowMs - endedAtMs >= RETURN_MS && silentMs >= RETURN_MS;
}

function sameMembers(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && one.isSubsetOf(other);
}
