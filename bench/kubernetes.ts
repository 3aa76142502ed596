import type { Benchmark, BenchmarkContext } from './benchmark.ts';
import { BenchCluster } from './kubernetes/bench-cluster.ts';
import { coldStartRows } from './kubernetes/cold-starts.ts';
import { idleRows } from './kubernetes/idle.ts';
import { knativeVersion } from './kubernetes/knative.ts';
import { directRows, proxiedRows } from './kubernetes/throughput.ts';
import type { Row } from './report.ts';

async function run(context: BenchmarkContext): Promise<Row[]> {
  const bench = await BenchCluster.start();
  try {
    context.note(
      `Knative Serving ${await knativeVersion()} starts a container of one static Go binary on an empty image (e2e/cluster/go/hello), without a model; it and its queue-proxy are there on the node.`,
    );
    const rows = await coldStartRows(bench, context);
    await bench.clear();
    rows.push(...(await proxiedRows(bench, context)));
    rows.push(...(await directRows(bench, context)));
    await bench.clear();
    rows.push(...(await idleRows(bench, context)));
    return rows;
  } finally {
    await bench.close();
  }
}

export const benchmark: Benchmark = {
  summary: 'cold starts, throughput and idle cost on a real cluster, against Knative Serving on the same',
  run,
};
