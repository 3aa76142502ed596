import { loadLine } from '../../core/load-summary.ts';
import { runLoad } from '../load.ts';
import type { DemoContext } from './stage-context.ts';

const DURATION_MS = 3_000;

/** One caller, one request after the other, to a replica that is there. */
export async function showWarm(context: DemoContext): Promise<void> {
  const { screen, reader } = context;
  await screen.step('Warm: one caller, one image after the other');
  const untilMs = performance.now() + DURATION_MS;
  const load = await screen.waitFor(
    'reading the same image again and again',
    runLoad(
      1,
      () => performance.now() < untilMs,
      async () => (await reader.read()).durationMs,
    ),
  );
  const [failure] = load.failures;
  if (failure !== undefined) throw failure;
  context.answered += load.latenciesMs.length;
  await screen.line(loadLine(load.latenciesMs, load.elapsedMs));
}
