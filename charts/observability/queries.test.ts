import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ALERTS, exprOf } from './alerts.ts';
import { METRICS } from './catalogue.ts';
import { exportedMetrics } from './exported-metrics.ts';
import { DASHBOARDS, RUNBOOK_BASE_URL, ruleFiles } from './generated-files.ts';
import { dashboardJson, type Panel } from './grafana.ts';
import { matching, TARGET_LABELS } from './promql.ts';
import { RECORDED, RECORDING_RULES } from './recording-rules.ts';

const RUNBOOKS = join(import.meta.dirname, '../../docs/runbooks');

interface Known {
  readonly type: string;
  readonly labels: readonly string[];
}

/** Every series that a query may ask for, recorded ones included. */
const KNOWN = new Map<string, Known>([
  ...Object.entries(METRICS),
  ...Object.values(RECORDED).map(
    (name) => [name, { type: 'recorded', labels: ['namespace', 'service', 'le'] }] as const,
  ),
]);

/**
 * What in a query is the name or the label of nothing. It reads the text, so that it also holds for what no typed
 * helper made.
 */
function strangersIn(query: string): string[] {
  const strangers: string[] = [];
  const labels = new Set<string>([...TARGET_LABELS, 'le']);
  const selectors = /([a-z_]+:pilotlight\w*:\w+|\bpilotlight_\w+)(?:\{([^}]*)\})?/g;
  for (const [, name = '', matchers = ''] of query.matchAll(selectors)) {
    const known = KNOWN.get(name) ?? histogramOf(name);
    if (known === undefined) {
      strangers.push(name);
      continue;
    }
    for (const label of known.labels) labels.add(label);
    const own = new Set([...known.labels, ...TARGET_LABELS]);
    for (const [, label = ''] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g))
      if (!own.has(label)) strangers.push(`${name}{${label}}`);
  }
  for (const [, list = ''] of query.matchAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g)) {
    for (const label of list.split(',').map((text) => text.trim()))
      if (label !== '' && !labels.has(label)) strangers.push(`by ${label}`);
  }
  return strangers;
}

function histogramOf(name: string): Known | undefined {
  const [, stem = ''] = /^(.*)_(?:bucket|sum|count)$/.exec(name) ?? [];
  const known = KNOWN.get(stem);
  return known?.type === 'histogram' ? known : undefined;
}

function queriesOf(panel: Panel): string[] {
  if (panel.kind === 'heatmap') return [panel.expr];
  return panel.kind === 'table'
    ? panel.columns.map(({ expr }) => expr)
    : panel.queries.map(({ expr }) => expr);
}

const PANELS = DASHBOARDS.flatMap(({ title, rows }) =>
  rows.flatMap(({ panels }) => panels.map((panel) => [`${title}: ${panel.title}`, panel] as const)),
);

test('the catalogue is what the components register now', () => {
  const registered = exportedMetrics().map(({ name, type, labels }) => [name, { type, labels }]);
  expect(METRICS).toEqual(Object.fromEntries(registered));
  expect(registered.length).toBeGreaterThan(40);
});

test.each([
  ['sum(rate(pilotlight_activator_request_total[5m]))', 'pilotlight_activator_request_total'],
  ['pilotlight_leader{service="a"}', 'pilotlight_leader{service}'],
  ['sum by (verb) (pilotlight_leader)', 'by verb'],
  ['rate(pilotlight_replicas_bucket[5m])', 'pilotlight_replicas_bucket'],
  ['namespace_service:pilotlight_requests:rate1m', 'namespace_service:pilotlight_requests:rate1m'],
])('a query that asks for what is not there is found: %s', (query, stranger) => {
  expect(strangersIn(query)).toEqual([stranger]);
});

test.each(PANELS)('%s asks for what there is, and says what it shows', (_title, panel) => {
  const queries = queriesOf(panel);
  expect(queries.length).toBeGreaterThan(0);
  for (const query of queries) {
    expect(query).toMatch(/pilotlight/);
    expect(strangersIn(query), query).toEqual([]);
  }
  expect(panel.description).toMatch(/\.$/);
});

test.each(DASHBOARDS)('$title uses no variable that it has not, and every one that it has', (dashboard) => {
  const text = JSON.stringify(dashboard);
  const builtIn = ['__rate_interval', '__range', '__range_s'];
  const names = dashboard.variables.map(({ name }) => name);
  const panels = JSON.stringify(dashboard.rows);
  const used = new Set([...panels.matchAll(/\$(\w+)/g)].map(([, name = '']) => name));
  expect([...used].filter((name) => !builtIn.includes(name) && !names.includes(name))).toEqual([]);
  expect(names.filter((name) => !used.has(name))).toEqual([]);
  for (const variable of dashboard.variables)
    if (variable.kind === 'labels') expect(strangersIn(variable.query)).toEqual([]);
  expect(text).not.toContain('undefined');
});

test.each(DASHBOARDS)(
  'the panels of $title stand side by side, on no other, each with its number',
  (dashboard) => {
    const { panels } = dashboardJson(dashboard) as {
      panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
    };
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { gridPos } of panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      expect(gridPos.w).toBeGreaterThan(0);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${x},${y} twice`).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
  },
);

test('every rule asks for what there is', () => {
  for (const { expr } of RECORDING_RULES) expect(strangersIn(expr), expr).toEqual([]);
  for (const alert of ALERTS) {
    expect(strangersIn(exprOf(alert)), alert.name).toEqual([]);
    expect(alert.when).toMatch(/^(<|>|==) [\d.]+$/);
  }
});

test('an alert says in its words only what its labels are', () => {
  for (const { name, description, measure, summary } of ALERTS) {
    const [, list = ''] = /^(?:histogram_quantile\([\d.]+, )?\w+ by \(([^)]*)\)/.exec(measure) ?? [];
    const labels = measure.startsWith('namespace_service:') ? ['namespace', 'service'] : list.split(', ');
    for (const [, label = ''] of description.matchAll(/\$labels\.(\w+)/g))
      expect(labels, name).toContain(label);
    expect(summary, name).not.toContain('{{');
  }
});

test('every alert has its page, and every page its alert', async () => {
  const pages = (await readdir(RUNBOOKS)).sort();
  expect(pages).toEqual(ALERTS.map(({ name }) => `${name}.md`).sort());
  for (const { name } of ALERTS) {
    expect(ruleFiles().get('alerts.yaml')).toContain(`${RUNBOOK_BASE_URL}/${name}.md`);
    const text = await readFile(join(RUNBOOKS, `${name}.md`), 'utf8');
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual([
      name,
      'What it means',
      'What users see',
      'How to look',
      'What to do',
      'When to worry',
    ]);
    // Alerts that it names are there, and the queries that it gives ask for what there is.
    for (const [named] of text.matchAll(/\bPilotlight[A-Z]\w+/g))
      expect(
        ALERTS.map((alert) => alert.name),
        name,
      ).toContain(named);
    for (const [, queries = ''] of text.matchAll(/```promql\n([^`]*)```/g))
      expect(strangersIn(queries), name).toEqual([]);
  }
});

test('matchers are quoted, whatever is in them', () => {
  expect(matching({ a: 'b"c', d: { re: 'x|y' }, e: { notRe: 'z' } })).toBe('{a="b\\"c", d=~"x|y", e!~"z"}');
  expect(matching({})).toBe('');
});
