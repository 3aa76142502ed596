import { STATS_HEARTBEAT_MS, STATS_INTERVAL_MS, type StatsReport } from '../../contracts/stats.ts';
import type { Logger } from '../../process/logger.ts';
import type { Claim, ServingLoad } from '../ports.ts';

/** Where the stats of a claim go. */
export interface StatsTarget {
  url: string;
  token: string;
  claim: Claim;
  /** `performance.now()` at the claim. */
  claimedAtMs: number;
}

const PUSH_TIMEOUT_MS = 2_000;

/**
 * Reports the load of this runtime to the controller: each second while it changes, and a heartbeat otherwise.
 * Counts are cumulative, so a report that is lost is made good by the next one.
 *
 * @returns a function that ends the reports, after one last one.
 */
export function pushStats(
  target: StatsTarget,
  incarnation: string,
  load: ServingLoad,
  logger: Logger,
): () => Promise<void> {
  let sequence = 0;
  let lastText = '';
  let lastSentAtMs = -Infinity;
  let sending: Promise<void> | undefined;
  let failing = false;

  const send = async (body: StatsReport): Promise<void> => {
    try {
      await postJson(target.url, target.token, JSON.stringify(body));
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
    const snapshot = load.snapshot();
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
  report(true);
  return async () => {
    clearInterval(timer);
    await sending;
    report(true);
    await sending;
  };
}

/** Over node:http: `fetch` would bring 20 ms and 6 MB of undici into every standby that becomes a replica. */
async function postJson(url: string, token: string, body: string): Promise<void> {
  const { protocol } = new URL(url);
  const { request } = process.getBuiltinModule(protocol === 'https:' ? 'node:https' : 'node:http');
  await new Promise<void>((resolve, reject) => {
    const call = request(
      url,
      {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
        signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
      },
      (response) => {
        response.resume();
        response.once('end', () => {
          if (response.statusCode !== undefined && response.statusCode < 300) resolve();
          else reject(new Error(`the controller answered ${response.statusCode}`));
        });
        response.once('error', reject);
      },
    );
    call.once('error', reject);
    call.end(body);
  });
}
