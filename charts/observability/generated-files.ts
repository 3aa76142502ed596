import { stringify } from 'yaml';
import { ALERTS, exprOf } from './alerts.ts';
import { CAPACITY } from './dashboards/capacity.ts';
import { COLD_STARTS } from './dashboards/cold-starts.ts';
import { PLATFORM } from './dashboards/platform.ts';
import { SERVICE } from './dashboards/service.ts';
import { type ExportedMetric, exportedMetrics } from './exported-metrics.ts';
import { dashboardJson } from './grafana.ts';
import { RECORDING_RULES } from './recording-rules.ts';

/** Where the pages of alerts are, unless the chart's values say otherwise. */
export const RUNBOOK_BASE_URL = 'https://github.com/pilotlight-dev/pilotlight/blob/main/docs/runbooks';

export const DASHBOARDS = [PLATFORM, SERVICE, COLD_STARTS, CAPACITY] as const;

const GENERATED = 'by node charts/generate.ts';

/** Prometheus rule files, by name. */
export function ruleFiles(): ReadonlyMap<string, string> {
  const records = { groups: [{ name: 'pilotlight.records', rules: RECORDING_RULES }] };
  const alerts = {
    groups: [
      {
        name: 'pilotlight.alerts',
        rules: ALERTS.map((alert) => ({
          alert: alert.name,
          expr: exprOf(alert),
          for: alert.for,
          labels: { severity: alert.severity },
          annotations: {
            summary: alert.summary,
            description: alert.description,
            runbook_url: `${RUNBOOK_BASE_URL}/${alert.name}.md`,
          },
        })),
      },
    ],
  };
  const text = (rules: object): string =>
    `# Generated ${GENERATED} from charts/observability.\n${stringify(rules, { lineWidth: 0 })}`;
  return new Map([
    ['alerts.yaml', text(alerts)],
    ['records.yaml', text(records)],
  ]);
}

/** Grafana dashboards, by the name of their file. */
export function dashboardFiles(): ReadonlyMap<string, string> {
  return new Map(
    DASHBOARDS.map((dashboard) => [
      `${dashboard.uid.replace(/^pilotlight-/, '')}.json`,
      `${JSON.stringify(dashboardJson(dashboard), undefined, 2)}\n`,
    ]),
  );
}

/** The types that queries are checked against. */
export function catalogueText(metrics: readonly ExportedMetric[] = exportedMetrics()): string {
  const entries = metrics.map(
    ({ name, type, labels }) =>
      `  ${name}: {\n    type: '${type}',\n    labels: [${labels.map((label) => `'${label}'`).join(', ')}],\n  },`,
  );
  return `/** Metrics and labels that components have. Generated ${GENERATED}, which asks their registries. */
export const METRICS = {
${entries.join('\n')}
} as const;
`;
}

/** The table of all metrics, for people. */
export function metricsPage(metrics: readonly ExportedMetric[] = exportedMetrics()): string {
  const sections = (['controller', 'activator', 'runtime'] as const).map((component) => {
    const own = metrics.filter(({ components }) => components.length === 1 && components[0] === component);
    return `## ${component}\n\n${table(own)}`;
  });
  const ofAll = metrics.filter(({ components }) => components.length > 1);
  return `# Metrics

Generated ${GENERATED} from what the components register; [observability.md](observability.md) says how to read them. Every series has the label \`component\` too, and what Prometheus adds: \`pod\`, \`namespace\`, \`job\` … Series of a runtime carry \`namespace\` and \`service\` from the claim on.

${sections.join('\n\n')}

## Every process

${table(ofAll)}

Beside these each process has the usual metrics of Node.js: \`pilotlight_process_*\` and \`pilotlight_nodejs_*\`.
`;
}

function table(metrics: readonly ExportedMetric[]): string {
  const rows = metrics.map(({ name, type, help, labels }) => {
    const own = labels.filter((label) => label !== 'component').map((label) => `\`${label}\``);
    return [`\`${name}\``, type, own.join(', '), help.replaceAll('|', '\\|')];
  });
  const head = ['name', 'type', 'labels', 'what it says'];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
