import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { tool } from '../../cluster/tools.ts';
import { objectsIn, type RenderedObject } from './rendered.ts';

export const CHART = fileURLToPath(new URL('../../../charts/pilotlight', import.meta.url));
export const NAMESPACE = 'pilotlight-system';
/** Rendering asks no cluster; so this is the Kubernetes that the chart is told of. */
const KUBE_VERSION = '1.34.0';

const runFile = promisify(execFile);
/** What helm said, whether or not it ended well. */
export interface HelmResult {
  code: number;
  stdout: string;
  stderr: string;
}

export async function helm(helmArguments: readonly string[]): Promise<HelmResult> {
  const binary = await tool('helm');
  const options = { maxBuffer: 64 * 1024 * 1024, timeout: 60_000 };
  return runFile(binary, [...helmArguments], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code?: unknown; stdout?: string; stderr?: string; message?: string }) => ({
      code: typeof error.code === 'number' ? error.code : -1,
      stdout: error.stdout ?? '',
      stderr: error.stderr ?? error.message ?? '',
    }),
  );
}

/** Values as they stand in a values file. */
export type Values = Readonly<Record<string, unknown>>;

/** Has `use` work with a values file, which is gone after it. */
export async function withValuesFile<Result>(
  values: Values,
  use: (file: string) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'pilotlight-values-'));
  try {
    // JSON is YAML, and in it text stays text: Helm would read a bare `yes` as a boolean.
    const file = join(folder, 'values.json');
    await writeFile(file, JSON.stringify(values));
    return await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs a helm command that asks no cluster on the chart. */
export function helmWithValues(
  command: readonly string[],
  values: Values,
  chart: string = CHART,
): Promise<HelmResult> {
  return withValuesFile(values, (file) =>
    helm([...command, chart, '--kube-version', KUBE_VERSION, '--values', file]),
  );
}

export function template(values: Values, chart?: string): Promise<HelmResult> {
  return helmWithValues(['template', 'pilotlight', '--namespace', NAMESPACE], values, chart);
}

/** The chart's objects with these values. @throws Error with helm's words where it refuses. */
export async function render(values: Values = {}, chart?: string): Promise<RenderedObject[]> {
  const { code, stdout, stderr } = await template(values, chart);
  if (code !== 0) throw new Error(stderr);
  return objectsIn(stdout);
}
