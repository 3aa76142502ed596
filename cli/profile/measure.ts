import {
  loadMeasureSchema,
  type SettledModel,
  type StartMeasure,
  settledModelSchema,
  startMeasureSchema,
} from '../../contracts/model-tools.ts';
import { profilePlan } from '../core/profile-plan.ts';
import type { StartClass } from '../core/profile-report.ts';
import type { MeasuredConfiguration } from '../core/recommendation.ts';
import type { Progress } from '../terminal.ts';
import { runTool } from '../tool-process.ts';

/** A median of more would cost the time that the load needs. */
const MOST_STARTS = 5;

export interface Measured {
  readonly model: SettledModel;
  readonly starts: readonly StartClass[];
  readonly measured: readonly MeasuredConfiguration[];
}

/**
 * Measures a model on this machine, each start and each way to run it in a process of its own.
 *
 * @param scratch an empty folder for its cache; what a start finds there is what the class of the start says.
 * @param nowMs a clock that only goes forward.
 */
export async function measure(
  { uri, scratch, seconds }: { uri: string; scratch: string; seconds: number },
  progress: Progress,
  nowMs: () => number,
): Promise<Measured> {
  const quiet: Progress = { ...progress, show: () => undefined };
  const startOnce = async (dropsPages: boolean): Promise<StartMeasure> =>
    startMeasureSchema.parse(
      await runTool({ tool: 'measure-start', uri, cacheDir: scratch, dropsPages }, quiet),
    );
  const several = async (text: string, dropsPages: boolean, budgetMs: number): Promise<StartMeasure[]> => {
    const measures: StartMeasure[] = [];
    const beganMs = nowMs();
    do {
      progress.show(`${text}, ${measures.length + 1}`);
      measures.push(await startOnce(dropsPages));
    } while (measures.length < MOST_STARTS && nowMs() - beganMs < budgetMs);
    return measures;
  };
  const eachMs = (seconds * 1000 * 0.3) / 3;
  progress.show('starting with nothing in the cache');
  const nothing = [await startOnce(false)];
  const bytes = await several('starting with the model in the cache', false, eachMs);
  progress.show('compiling');
  const model = settledModelSchema.parse(await runTool({ tool: 'settle', uri, cacheDir: scratch }, quiet));
  const compiled = await several('starting from the compiled form', false, eachMs);
  const cold = await several('starting with cold pages', true, eachMs);
  const starts: StartClass[] = [
    { name: 'nothing cached', meaning: 'fetched, weights put outside', measures: nothing },
    { name: 'model cached', meaning: 'seen before, not compiled yet', measures: bytes },
    { name: 'compiled', meaning: `from the ${model.kind} form`, measures: compiled },
  ];
  // Small files have no cold pages to tell of, and some file systems keep theirs.
  const isCold = cold.some(({ coldBytes }) => coldBytes > 0);
  if (isCold) starts.push({ name: 'compiled, pages cold', meaning: 'from the disk', measures: cold });
  const plan = profilePlan(model.cpus, model.takesBatches, seconds);
  const measured: MeasuredConfiguration[] = [];
  for (const [index, configuration] of plan.configurations.entries()) {
    const { threads, instances } = configuration;
    progress.show(`${threads} thread(s) × ${instances} instance(s)`, index / plan.configurations.length);
    const load = loadMeasureSchema.parse(
      await runTool(
        {
          tool: 'measure-load',
          uri,
          cacheDir: scratch,
          threads,
          instances,
          batches: [...plan.batches],
          milliseconds: plan.sliceMs,
        },
        quiet,
      ),
    );
    measured.push({ ...configuration, ...load });
  }
  return { model, starts, measured };
}
