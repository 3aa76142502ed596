import { loadLine, type ReplicaSample, scaleOutLine } from '../../core/load-summary.ts';
import { plural } from '../../core/units.ts';
import { CommandFailure } from '../../failure.ts';
import { runLoad } from '../load.ts';
import { type DemoContext, noteServingPids } from './stage-context.ts';

const CLIENTS = 16;
/** `maxReplicas` of the example. */
const MOST_REPLICAS = 4;
/** What a scale-out is at least. */
const LEAST_REPLICAS = 2;
const LONGEST_MS = 15_000;
/** How long the burst goes on at full strength, so that the figures are of several replicas. */
const AT_FULL_STRENGTH_MS = 2_000;
const SAMPLE_INTERVAL_MS = 50;

/** Many callers at once: more replicas come, and every image is read rightly all the while. */
export async function showBurst(context: DemoContext): Promise<void> {
  const { screen, api, reader } = context;
  await screen.step(`A burst: ${CLIENTS} callers at once`);
  const samples: ReplicaSample[] = [];
  const fromMs = performance.now();
  let endsAtMs = fromMs + LONGEST_MS;
  const over = new AbortController();
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const ready = (await api.service('ocr'))?.replicas.ready ?? 0;
      const nowMs = performance.now();
      samples.push({ atMs: nowMs - fromMs, ready });
      if (ready >= MOST_REPLICAS) endsAtMs = Math.min(endsAtMs, nowMs + AT_FULL_STRENGTH_MS);
      await noteServingPids(context);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_INTERVAL_MS));
    }
  };
  const watching = watch();
  // Whoever fails first is heard; until then nobody is.
  watching.catch(() => undefined);
  const load = await screen.waitFor(
    'more replicas come',
    runLoad(
      CLIENTS,
      () => performance.now() < endsAtMs,
      async () => (await reader.read()).durationMs,
    ),
  );
  over.abort();
  await watching;
  const [failure] = load.failures;
  if (failure !== undefined) throw failure;
  context.answered += load.latenciesMs.length;
  const most = Math.max(...samples.map(({ ready }) => ready));
  await screen.line(`replicas ${scaleOutLine(samples)}`);
  await screen.line(loadLine(load.latenciesMs, load.elapsedMs));
  if (most < LEAST_REPLICAS) {
    throw new CommandFailure(
      `expected ${LEAST_REPLICAS} replicas or more within ${LONGEST_MS / 1000} s, saw ${plural(most, 'replica')}`,
    );
  }
}
