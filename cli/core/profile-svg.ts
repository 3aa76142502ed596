import { medianStart, type Profile } from './profile-report.ts';
import { formatMs, formatRate } from './units.ts';

const WIDTH = 820;
const LEFT = 210;
const CHART_WIDTH = WIDTH - LEFT - 130;
const ROW = 22;
const COLOURS = ['#d9480f', '#1971c2', '#2f9e44', '#9c36b5', '#e67700', '#0c8599'];

/** A profile as a picture: starts by class, throughput by batch for each configuration. */
export function profileSvg(profile: Profile): string {
  const parts: string[] = [];
  let y = 34;
  parts.push(text(12, 22, `${profile.model} on ${profile.cpus} CPU(s)`, 'font-weight="bold"'));
  const starts = profile.starts.flatMap((one) => {
    const start = medianStart(one);
    return start === undefined ? [] : [{ name: one.name, totalMs: start.totalMs }];
  });
  const longest = Math.max(1, ...starts.map(({ totalMs }) => totalMs));
  for (const { name, totalMs } of starts) {
    y += ROW;
    parts.push(
      text(12, y, name),
      bar(y, totalMs / longest, COLOURS[0] ?? ''),
      value(y, totalMs / longest, formatMs(totalMs)),
    );
  }
  const rows = profile.measured.flatMap(({ rows: list }) => list);
  const most = Math.max(1, ...rows.map(({ itemsPerSecond }) => itemsPerSecond));
  for (const [index, { threads, instances, rows: list }] of profile.measured.entries()) {
    y += ROW * 1.5;
    parts.push(text(12, y, `${threads} thread(s) × ${instances} instance(s)`, 'font-weight="bold"'));
    for (const { batch, itemsPerSecond, p50Ms } of list) {
      y += ROW;
      const share = itemsPerSecond / most;
      parts.push(
        text(12, y, `batch ${batch}, p50 ${formatMs(p50Ms)}`),
        bar(y, share, COLOURS[(index + 1) % COLOURS.length] ?? ''),
        value(y, share, `${formatRate(itemsPerSecond)}/s`),
      );
    }
  }
  const height = Math.ceil(y + ROW);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

function text(x: number, y: number, content: string, attributes = ''): string {
  const safe = content.replace(/[&<>"]/g, (character) => ESCAPES[character] ?? '');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${safe}</text>`;
}

function bar(y: number, share: number, colour: string): string {
  const width = Math.max(1, share * CHART_WIDTH);
  return `<rect x="${LEFT}" y="${(y - 12).toFixed(1)}" width="${width.toFixed(1)}" height="14" fill="${colour}"/>`;
}

const value = (y: number, share: number, content: string): string =>
  text(LEFT + Math.max(1, share * CHART_WIDTH) + 6, y, content);
