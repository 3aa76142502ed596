/**
 * Dashboards as Grafana imports them (JSON model, schema version 39: Grafana 10.3 and later). Only what our
 * dashboards use; a panel is described by what it shows, and where it stands follows from its row.
 */

export interface Query {
  readonly expr: string;
  /** Name of each series, with `{{label}}`. */
  readonly legend: string;
}

interface PanelBase {
  readonly title: string;
  /** What it means, and what to make of it. */
  readonly description: string;
  readonly queries: readonly Query[];
  readonly unit: Unit;
  /** Of 24; the panels of a row that don't say share what is left. */
  readonly width?: number;
}

/** Grafana's names of units. */
export type Unit = 's' | 'reqps' | 'ops' | 'short' | 'percent' | 'percentunit' | 'bytes' | 'none' | 'cps';

interface Threshold {
  readonly color: 'green' | 'orange' | 'red';
  /** Undefined for the lowest. */
  readonly from?: number;
}

export interface TimeSeries extends PanelBase {
  readonly kind: 'timeseries';
  readonly stacked?: boolean;
  readonly max?: number;
}

export interface Stat extends PanelBase {
  readonly kind: 'stat';
  readonly thresholds?: readonly Threshold[];
}

export interface Heatmap extends Omit<PanelBase, 'queries'> {
  readonly kind: 'heatmap';
  /** Growth of buckets, by `le`. */
  readonly expr: string;
}

export interface TableColumn {
  readonly title: string;
  readonly expr: string;
  readonly unit: Unit;
  readonly decimals?: number;
}

/** One row for each set of labels, one column for each query; the last value of the range. */
export interface Table extends Omit<PanelBase, 'queries' | 'unit'> {
  readonly kind: 'table';
  readonly labels: readonly string[];
  readonly columns: readonly TableColumn[];
  /** The row's service is a link to its dashboard. */
  readonly linksToService?: boolean;
}

export type Panel = TimeSeries | Stat | Heatmap | Table;

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export type Variable =
  | {
      readonly kind: 'labels';
      readonly name: string;
      readonly label: string;
      /** `label_values(series, label)`. */
      readonly query: string;
      /** Several may be chosen, and all are at first. */
      readonly multi: boolean;
    }
  | {
      readonly kind: 'text';
      readonly name: string;
      readonly label: string;
      readonly value: string;
      readonly description: string;
    };

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
}

export const SERVICE_DASHBOARD = 'pilotlight-service';

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' } as const;
const COLUMNS = 24;
const PANEL_HEIGHT = 8;
const STAT_HEIGHT = 4;
const TAG = 'pilotlight';

type Json = Readonly<Record<string, unknown>>;

/** The dashboard's JSON model. Panels get numbers and places in the order in which they are given. */
export function dashboardJson({ uid, title, description, variables, rows }: Dashboard): Json {
  let id = 0;
  let y = 0;
  const panels: Json[] = [];
  for (const row of rows) {
    const rowPlace = { h: 1, w: COLUMNS, x: 0, y };
    panels.push({
      id: ++id,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: rowPlace,
      panels: [],
    });
    y += 1;
    const height = row.panels.every(({ kind }) => kind === 'stat') ? STAT_HEIGHT : PANEL_HEIGHT;
    let x = 0;
    for (const [index, width] of widthsOf(row.panels).entries()) {
      const panel = row.panels[index];
      if (panel === undefined) continue;
      if (x + width > COLUMNS) {
        x = 0;
        y += height;
      }
      panels.push({ id: ++id, ...panelJson(panel), gridPos: { h: height, w: width, x, y } });
      x += width;
    }
    y += height;
  }
  return {
    uid,
    title,
    description,
    tags: [TAG],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    annotations: { list: [] },
    links: [
      {
        type: 'dashboards',
        title: 'Pilotlight',
        tags: [TAG],
        asDropdown: false,
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        icon: 'external link',
        tooltip: '',
        url: '',
      },
    ],
    templating: { list: [datasourceVariable(), ...variables.map(variableJson)] },
    panels,
  };
}

function widthsOf(panels: readonly Panel[]): number[] {
  const given = panels.reduce((sum, { width = 0 }) => sum + width, 0);
  const open = panels.filter(({ width }) => width === undefined).length;
  const share = open === 0 ? 0 : Math.floor(Math.max(COLUMNS - given, open) / open);
  return panels.map(({ width }) => width ?? share);
}

function panelJson(panel: Panel): Json {
  const { kind, title, description } = panel;
  const base = { type: kind, title, description, datasource: DATASOURCE };
  switch (kind) {
    case 'timeseries':
      return { ...base, targets: targets(panel.queries), ...timeSeriesOptions(panel) };
    case 'stat':
      return { ...base, targets: targets(panel.queries), ...statOptions(panel) };
    case 'heatmap':
      return {
        ...base,
        targets: [
          { refId: 'A', expr: panel.expr, legendFormat: '{{le}}', format: 'heatmap', datasource: DATASOURCE },
        ],
        ...heatmapOptions(panel),
      };
    case 'table':
      return { ...base, ...tableOptions(panel) };
  }
}

function refId(index: number): string {
  return String.fromCharCode('A'.charCodeAt(0) + index);
}

function targets(queries: readonly Query[]): Json[] {
  return queries.map(({ expr, legend }, index) => ({
    refId: refId(index),
    expr,
    legendFormat: legend,
    range: true,
    instant: false,
    datasource: DATASOURCE,
  }));
}

function thresholdSteps(thresholds: readonly Threshold[]): Json {
  return { mode: 'absolute', steps: thresholds.map(({ color, from }) => ({ color, value: from ?? null })) };
}

function timeSeriesOptions({ unit, stacked = false, max }: TimeSeries): Json {
  return {
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        ...(max !== undefined && { max }),
        color: { mode: 'palette-classic' },
        custom: {
          drawStyle: 'line',
          lineWidth: 1,
          fillOpacity: stacked ? 40 : 10,
          showPoints: 'auto',
          spanNulls: false,
          stacking: { mode: stacked ? 'normal' : 'none', group: 'A' },
        },
      },
      overrides: [],
    },
    options: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  };
}

function statOptions({ unit, thresholds = [{ color: 'green' }] }: Stat): Json {
  return {
    fieldConfig: {
      defaults: { unit, color: { mode: 'thresholds' }, thresholds: thresholdSteps(thresholds) },
      overrides: [],
    },
    options: {
      colorMode: 'value',
      graphMode: 'area',
      justifyMode: 'auto',
      orientation: 'auto',
      textMode: 'auto',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    },
  };
}

function heatmapOptions({ unit }: Heatmap): Json {
  return {
    fieldConfig: { defaults: { custom: {} }, overrides: [] },
    options: {
      // The buckets are there already.
      calculate: false,
      yAxis: { axisPlacement: 'left', unit },
      color: {
        mode: 'scheme',
        scheme: 'Oranges',
        steps: 64,
        exponent: 0.5,
        fill: 'dark-orange',
        reverse: false,
      },
      cellGap: 1,
      legend: { show: true },
      tooltip: { mode: 'single', yHistogram: false },
      filterValues: { le: 1e-9 },
      showValue: 'never',
      rowsFrame: { layout: 'auto' },
    },
  };
}

function tableOptions({ labels, columns, linksToService = false }: Table): Json {
  const valueName = (index: number): string => (columns.length === 1 ? 'Value' : `Value #${refId(index)}`);
  const renamed = Object.fromEntries(columns.map(({ title }, index) => [valueName(index), title]));
  const order = [...labels, ...columns.map((_column, index) => valueName(index))];
  return {
    targets: columns.map(({ expr }, index) => ({
      refId: refId(index),
      expr,
      format: 'table',
      range: false,
      instant: true,
      datasource: DATASOURCE,
    })),
    transformations: [
      // Joins the answers by their labels.
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: {
          excludeByName: { Time: true },
          indexByName: Object.fromEntries(order.map((name, index) => [name, index])),
          renameByName: renamed,
        },
      },
    ],
    fieldConfig: {
      defaults: { custom: { align: 'auto', filterable: true } },
      overrides: [
        ...columns.map(({ title, unit, decimals }) => ({
          matcher: { id: 'byName', options: title },
          properties: [
            { id: 'unit', value: unit },
            ...(decimals === undefined ? [] : [{ id: 'decimals', value: decimals }]),
          ],
        })),
        ...(linksToService ? [serviceLink()] : []),
      ],
    },
    options: { showHeader: true, cellHeight: 'sm', footer: { show: false, reducer: ['sum'], fields: '' } },
  };
}

function serviceLink(): Json {
  const url = `/d/${SERVICE_DASHBOARD}?var-datasource=\${datasource}&var-namespace=\${__data.fields.namespace}&var-service=\${__data.fields.service}&\${__url_time_range}`;
  return {
    matcher: { id: 'byName', options: 'service' },
    properties: [{ id: 'links', value: [{ title: 'This service', url }] }],
  };
}

function datasourceVariable(): Json {
  return {
    name: 'datasource',
    label: 'Prometheus',
    type: 'datasource',
    query: 'prometheus',
    current: {},
    hide: 0,
    includeAll: false,
    multi: false,
    options: [],
    refresh: 1,
    regex: '',
    skipUrlSync: false,
  };
}

function variableJson(variable: Variable): Json {
  const { name, label } = variable;
  if (variable.kind === 'text') {
    const { value, description } = variable;
    const current = { selected: true, text: value, value };
    return { name, label, description, type: 'textbox', query: value, current, options: [current], hide: 0 };
  }
  const { query, multi } = variable;
  return {
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query: { query, refId: `variable-${name}` },
    definition: query,
    refresh: 2,
    sort: 1,
    multi,
    includeAll: multi,
    ...(multi && { allValue: '.*', current: { selected: true, text: ['All'], value: ['$__all'] } }),
    hide: 0,
    regex: '',
    options: [],
  };
}
