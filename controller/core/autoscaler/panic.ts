/** A surge is on: the count may only rise until it has been over for a whole stable window. */
export interface Panic {
  readonly startedMs: number;
  /** When the load was last over the threshold. */
  readonly lastOverMs: number;
  /** The highest count asked for since it started. */
  readonly maxReplicas: number;
}

/**
 * An autoscaler that starts and finds more than one replica has lost its history: the first averages
 * would tell it to scale down. It starts in panic, so what is there stays for a stable window.
 */
export function panicAtStart(readyReplicas: number, nowMs: number): Panic | undefined {
  if (readyReplicas <= 1) return undefined;
  return { startedMs: nowMs, lastOverMs: nowMs, maxReplicas: readyReplicas };
}

/** Starts, extends or ends panic. It ends a stable window after the load was last over the threshold. */
export function stepPanic(
  panic: Panic | undefined,
  overThreshold: boolean,
  stableWindowMs: number,
  nowMs: number,
): Panic | undefined {
  if (overThreshold) {
    return panic === undefined
      ? { startedMs: nowMs, lastOverMs: nowMs, maxReplicas: 0 }
      : { ...panic, lastOverMs: nowMs };
  }
  return panic !== undefined && panic.lastOverMs + stableWindowMs < nowMs ? undefined : panic;
}

/** Takes a wanted count in: what panic asks for is the highest so far. */
export function raisePanic(panic: Panic, wanted: number): Panic {
  return wanted > panic.maxReplicas ? { ...panic, maxReplicas: wanted } : panic;
}
