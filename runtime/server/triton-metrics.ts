import { Counter, Gauge, type Registry } from 'prom-client';
import { servedVersion } from './admission.ts';
import type { Totals } from './model-statistics.ts';
import type { Serving } from './work.ts';

type Shared = Pick<Serving, 'engine' | 'statistics' | 'room'>;

const microseconds = (ms: number): number => Math.round(ms * 1000);

/** Triton's counters: name, what its documentation says, and where the figure comes from. */
const COUNTERS: readonly [name: string, help: string, read: (totals: Totals) => number][] = [
  ['request_success', 'Requests that were answered.', ({ success }) => success.count],
  ['request_failure', 'Requests that failed.', ({ fail }) => fail.count],
  ['count', 'Inferences; a request of batch n counts n.', ({ inferences }) => inferences],
  ['exec_count', 'Runs of the model.', ({ executions }) => executions],
  ['request_duration_us', 'Whole requests.', ({ success }) => microseconds(success.totalMs)],
  ['queue_duration_us', 'Waiting for an instance.', ({ queue }) => microseconds(queue.totalMs)],
  ['compute_input_duration_us', 'Bodies to tensors.', ({ input }) => microseconds(input.totalMs)],
  ['compute_infer_duration_us', 'Runs of the model.', ({ infer }) => microseconds(infer.totalMs)],
  ['compute_output_duration_us', 'Tensors to answers.', ({ output }) => microseconds(output.totalMs)],
];

/**
 * Registers aliases by the names that Triton's dashboards ask for: the same figures as `/v2/models/{m}/stats`, labelled
 * by model and version, and there while a model is ready.
 */
export function registerTritonMetrics(registry: Registry, { engine, statistics, room }: Shared): void {
  const labelNames = ['model', 'version'];
  const loaded = (): { labels: Record<string, string>; totals: Totals; queued: number } | undefined => {
    const phase = engine.current;
    if (phase.phase !== 'ready') return undefined;
    const { model } = phase;
    return {
      labels: { model: model.name, version: servedVersion(model) },
      totals: statistics.of(model).totals(model),
      queued: model.waiting ?? 0,
    };
  };
  for (const [name, help, read] of COUNTERS) {
    void new Counter({
      name: `nv_inference_${name}`,
      help: `${help} Triton's name for it.`,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        const now = loaded();
        if (now !== undefined) this.inc(now.labels, read(now.totals));
      },
    });
  }
  void new Gauge({
    name: 'nv_inference_pending_request_count',
    help: "Requests that wait for a place. Triton's name for it.",
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      const now = loaded();
      if (now !== undefined) this.set(now.labels, room.waiting + now.queued);
    },
  });
}
