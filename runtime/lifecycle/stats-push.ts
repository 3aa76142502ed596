import { STATS_HEARTBEAT_MS, STATS_INTERVAL_MS, type StatsReport } from '../../contracts/stats.ts';
import type { Logger } from '../../process/logger.ts';
import type { Claim, ServingLoad } from '../ports.ts';
import { StatsPoster } from './stats-post.ts';

/** Where the stats of a claim go; address and token change under way when another controller takes over. */
export interface StatsTarget {
  url: string;
  token: string;
  claim: Claim;
  /** `performance.now()` at the claim. */
  claimedAtMs: number;
}

interface StatsSource {
  incarnation: string;
  load: ServingLoad;
  /** Of the model, while one is there. */
  capacity: () => number | undefined;
  /** PEM of the authority that signs controllers' certificates, in a cluster. */
  controlCa: string | undefined;
  logger: Logger;
}

/**
 * Reports the load of this runtime to the controller: each second while it changes, and a heartbeat otherwise.
 * Counts are cumulative, so a report that is lost is made good by the next one.
 *
 * The first one goes out after a second, not at once: a process that has just become ready answers the request that
 * it was started for, and its first call over https takes 24 ms of the thread that answers (modules, authority,
 * handshake).
 *
 * @returns a function that ends the reports, after one last one.
 */
export function pushStats(
  target: Readonly<StatsTarget>,
  { incarnation, load, capacity, controlCa, logger }: StatsSource,
): () => Promise<void> {
  const poster = new StatsPoster(controlCa);
  let sequence = 0;
  let lastText = '';
  let lastSentAtMs = -Infinity;
  let sending: Promise<void> | undefined;
  let failing = false;

  const send = async (body: StatsReport): Promise<void> => {
    try {
      await poster.post(target.url, target.token, JSON.stringify(body));
      failing = false;
    } catch (error) {
      // Once for each spell of silence: the controller may be restarting, and reports go on each second.
      if (!failing) logger.warn({ url: target.url, err: error }, 'stats not delivered');
      failing = true;
    }
  };
  const report = (force: boolean): void => {
    if (sending !== undefined) return;
    const nowMs = performance.now();
    const requestsAtOnce = capacity();
    const snapshot = {
      ...load.snapshot(),
      ...(requestsAtOnce !== undefined && { capacity: requestsAtOnce }),
    };
    const text = JSON.stringify(snapshot);
    if (!force && text === lastText && nowMs - lastSentAtMs < STATS_HEARTBEAT_MS) return;
    lastText = text;
    lastSentAtMs = nowMs;
    const { claimId, serviceUid, revision } = target.claim;
    sending = send({
      incarnation,
      claimId,
      serviceUid,
      revision,
      sequence: sequence++,
      uptimeMs: nowMs - target.claimedAtMs,
      ...snapshot,
      residentBytes: process.memoryUsage.rss(),
    }).finally(() => {
      sending = undefined;
    });
  };
  const timer = setInterval(report, STATS_INTERVAL_MS, false);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await sending;
    report(true);
    await sending;
  };
}
