import type { METRICS } from './catalogue.ts';

/**
 * Queries put together from the names and labels that components really have: one that is misspelt is an error of
 * the compiler. What a function returns is PromQL, to be used as it is or put into another.
 */

type Catalogue = typeof METRICS;
export type MetricName = keyof Catalogue;
type NameOf<Type extends string> = {
  [Name in MetricName]: Catalogue[Name]['type'] extends Type ? Name : never;
}[MetricName];
type GaugeName = NameOf<'gauge'>;
type HistogramName = NameOf<'histogram'>;
/** What only grows: a counter, or the count or sum of a histogram. */
type CounterName = NameOf<'counter'> | `${HistogramName}_${'count' | 'sum'}`;

/** The metric whose labels a name has. */
type Base<Name extends string> = Name extends MetricName
  ? Name
  : Name extends `${infer Stem}_${'count' | 'sum'}`
    ? Stem extends MetricName
      ? Stem
      : never
    : never;

/** Labels that Prometheus adds to every series of a pod. */
export const TARGET_LABELS = ['namespace', 'pod', 'container', 'job', 'instance'] as const;
type TargetLabel = (typeof TARGET_LABELS)[number];
export type LabelOf<Name extends string> = Catalogue[Base<Name>]['labels'][number] | TargetLabel;

/** A value that a label must have, or a regular expression that it must or mustn't match. */
type Wanted = string | { readonly re: string } | { readonly notRe: string };
export type Match<Name extends string> = { readonly [Label in LabelOf<Name>]?: Wanted };

/** The window of a rate in a dashboard: Grafana makes it four scrapes long at least. */
const RATE_INTERVAL = '$__rate_interval';

export function matching(match: Readonly<Record<string, Wanted | undefined>>): string {
  const parts = Object.entries(match).flatMap(([label, wanted]) => {
    if (wanted === undefined) return [];
    if (typeof wanted === 'string') return [`${label}=${JSON.stringify(wanted)}`];
    return 're' in wanted
      ? [`${label}=~${JSON.stringify(wanted.re)}`]
      : [`${label}!~${JSON.stringify(wanted.notRe)}`];
  });
  return parts.length === 0 ? '' : `{${parts.join(', ')}}`;
}

/** A gauge's series, or those of any metric that are used as they are. */
export function gauge<Name extends GaugeName>(name: Name, match: Match<Name> = {}): string {
  return `${name}${matching(match)}`;
}

function rate<Name extends CounterName>(
  name: Name,
  match: Match<Name> = {},
  window: string = RATE_INTERVAL,
): string {
  return `rate(${name}${matching(match)}[${window}])`;
}

function increase<Name extends CounterName>(name: Name, match: Match<Name>, window: string): string {
  return `increase(${name}${matching(match)}[${window}])`;
}

type Aggregation = 'sum' | 'max' | 'min' | 'avg' | 'count';

function aggregate(how: Aggregation, labels: readonly string[], query: string): string {
  return labels.length === 0 ? `${how}(${query})` : `${how} by (${labels.join(', ')}) (${query})`;
}

/** `sum by (labels) (gauge)`. */
export function gaugeBy<Name extends GaugeName>(
  how: Aggregation,
  name: Name,
  labels: readonly LabelOf<Name>[],
  match: Match<Name> = {},
): string {
  return aggregate(how, labels, gauge(name, match));
}

/** `sum by (labels) (rate(counter))`. */
export function rateBy<Name extends CounterName>(
  name: Name,
  labels: readonly LabelOf<Name>[],
  match: Match<Name> = {},
  window: string = RATE_INTERVAL,
): string {
  return aggregate('sum', labels, rate(name, match, window));
}

/** `sum by (labels) (increase(counter))`. */
export function increaseBy<Name extends CounterName>(
  name: Name,
  labels: readonly LabelOf<Name>[],
  match: Match<Name>,
  window: string,
): string {
  return aggregate('sum', labels, increase(name, match, window));
}

/** Rates of a histogram's buckets, ready for a quantile. */
export function bucketRate<Name extends HistogramName>(
  name: Name,
  labels: readonly LabelOf<Name>[],
  match: Match<Name> = {},
  window: string = RATE_INTERVAL,
): string {
  return aggregate('sum', ['le', ...labels], `rate(${name}_bucket${matching(match)}[${window}])`);
}

/** Growth of a histogram's buckets, for a heatmap. */
export function bucketIncrease<Name extends HistogramName>(name: Name, match: Match<Name> = {}): string {
  return aggregate('sum', ['le'], `increase(${name}_bucket${matching(match)}[${RATE_INTERVAL}])`);
}

/** @param buckets what `bucketRate` gives, or a series that was recorded of it. */
export function quantile(share: number, buckets: string): string {
  return `histogram_quantile(${share}, ${buckets})`;
}

/** The mean of a histogram's observations. */
export function mean<Name extends HistogramName>(
  name: Name,
  labels: readonly LabelOf<Name>[],
  match: Match<Name> = {},
  window: string = RATE_INTERVAL,
): string {
  const part = (suffix: 'sum' | 'count'): string =>
    aggregate('sum', labels, `rate(${name}_${suffix}${matching(match)}[${window}])`);
  return `${part('sum')} / ${part('count')}`;
}
