import type { Exchange } from './exchange.ts';
import type { BodyReading } from './read-body.ts';
import type { Watched } from './watchdog.ts';

/**
 * Ends an answer that its client doesn't take. Its tensors stay in memory and its request counts as in flight
 * as long as it is written, and a service with a request in flight never goes back to zero.
 */
export function watchWriting({ reading }: { reading: BodyReading }, exchange: Exchange): void {
  let lastProgress = exchange.progress();
  let lastProgressMs = performance.now();
  const watched: Watched = {
    check: (nowMs) => {
      const progress = exchange.progress();
      if (progress !== lastProgress) {
        lastProgress = progress;
        lastProgressMs = nowMs;
      } else if (nowMs - lastProgressMs > reading.limits.writeIdleTimeoutMs) {
        exchange.destroy();
      }
    },
  };
  reading.watchdog.add(watched);
  exchange.onDone(() => reading.watchdog.remove(watched));
}
