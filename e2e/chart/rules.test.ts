import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ALERTS, type Alert } from '../../charts/observability/alerts.ts';
import { RUNBOOK_BASE_URL } from '../../charts/observability/generated-files.ts';
import { tool } from '../cluster/tools.ts';
import { CHART } from './testing/helm.ts';
import { RULE_CASES, type RuleCase, UNITS } from './testing/rule-cases.ts';

/** The rules as Prometheus itself reads and evaluates them: promtool, from the very version that is pinned here. */

const run = promisify(execFile);
const FILES = ['records.yaml', 'alerts.yaml'].map((name) => join(CHART, 'files/rules', name));
let folder: string;
let promtool: string;

beforeAll(async () => {
  promtool = await tool('promtool');
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-rules-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** What promtool complains of; nothing where all tests of rules hold. */
async function failures(name: string, tests: readonly object[]): Promise<string> {
  const file = join(folder, `${name}.yaml`);
  await writeFile(
    file,
    stringify({ rule_files: FILES, evaluation_interval: '15s', fuzzy_compare: true, tests }),
  );
  return run(promtool, ['test', 'rules', file]).then(
    () => '',
    ({ stdout = '', stderr = '', message }: { stdout?: string; stderr?: string; message: string }) =>
      `${stdout}${stderr}` || message,
  );
}

function ruleTest({ name, severity, summary }: Alert, { series, alerts }: RuleCase, at: string): object {
  return {
    interval: '15s',
    input_series: Object.entries(series).map(([text, values]) => ({ series: text, values })),
    alert_rule_test: [
      {
        eval_time: at,
        alertname: name,
        exp_alerts: alerts.map(({ labels, says }) => ({
          exp_labels: { ...labels, severity },
          exp_annotations: { summary, description: says, runbook_url: `${RUNBOOK_BASE_URL}/${name}.md` },
        })),
      },
    ],
  };
}

test('promtool finds nothing wrong with the rules, and nothing to lint', async () => {
  const { stdout } = await run(promtool, ['check', 'rules', '--lint=all', '--lint-fatal', ...FILES]);
  expect(stdout.match(/SUCCESS/g)).toHaveLength(2);
});

test('every alert has its cases', () => {
  expect(Object.keys(RULE_CASES).sort()).toEqual(ALERTS.map(({ name }) => name).sort());
});

test.each(ALERTS)('$name fires when it is to', async (alert) => {
  const { fires } = RULE_CASES[alert.name] ?? {};
  if (fires === undefined) throw new Error(`no case for ${alert.name}`);
  expect(fires.alerts.length).toBeGreaterThan(0);
  expect(await failures(`${alert.name}-fires`, [ruleTest(alert, fires, fires.at)])).toBe('');
});

test.each(ALERTS)('$name is silent when all is well, and before its time', async (alert) => {
  const { fires, silent } = RULE_CASES[alert.name] ?? {};
  if (fires === undefined || silent === undefined) throw new Error(`no case for ${alert.name}`);
  const tests = [ruleTest(alert, { ...silent, alerts: [] }, silent.at)];
  if (fires.notYetAt !== undefined) tests.push(ruleTest(alert, { ...fires, alerts: [] }, fires.notYetAt));
  expect(await failures(`${alert.name}-silent`, tests)).toBe('');
});

test('a test of rules that is wrong is told from one that is right', async () => {
  const [alert] = ALERTS;
  const { fires } = RULE_CASES[alert?.name ?? ''] ?? {};
  if (alert === undefined || fires === undefined) throw new Error('there is no first alert');
  const said = await failures('planted', [ruleTest(alert, { ...fires, alerts: [] }, fires.at)]);
  expect(said).toContain(`alertname: ${alert.name}`);
});

test('the recorded series are what their names say', async () => {
  expect(await failures('records', UNITS)).toBe('');
});
