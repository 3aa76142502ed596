import type { ServiceView } from '../../contracts/console.ts';
import { plainTable } from './plain-table.ts';
import type { Style } from './style.ts';
import { formatMs, formatRate } from './units.ts';

const COLOUR: Readonly<Record<ServiceView['state'], (style: Style, text: string) => string>> = {
  Standby: (style, text) => style.dim(text),
  Starting: (style, text) => style.yellow(text),
  Ready: (style, text) => style.green(text),
  Degraded: (style, text) => style.yellow(text),
  Failed: (style, text) => style.red(text),
  Invalid: (style, text) => style.red(text),
  Stopped: (style, text) => style.dim(text),
};

const HEAD = ['SERVICE', 'STATE', 'READY', 'WANTED', 'REQ/S', 'LAST COLD START', 'URL'];
/** A message is one sentence; a stack of them belongs into the JSON. */
const MAX_MESSAGE_CHARACTERS = 300;

/**
 * The services as a table, one a line, in order of their names; below it what is wrong with those that are not
 * well. Without services it says how to get one.
 */
export function statusTable(services: readonly ServiceView[], style: Style): string {
  if (services.length === 0) {
    return 'No services: put an InferenceService manifest into the folder that is served.';
  }
  const sorted = [...services].sort((one, other) => compare(fullName(one), fullName(other)));
  const showNamespace = sorted.some(({ namespace }) => namespace !== 'default');
  const rows = sorted.map((service) => {
    const { replicas, lastColdStartMs } = service;
    return [
      showNamespace ? fullName(service) : service.name,
      COLOUR[service.state](style, service.state),
      String(replicas.ready),
      String(replicas.wanted),
      formatRate(service.requestsPerSecond),
      lastColdStartMs === undefined ? '–' : formatMs(lastColdStartMs),
      service.url,
    ];
  });
  const lines = plainTable(HEAD, rows, ['left', 'left', 'right', 'right', 'right', 'right', 'left'], style);
  const messages = sorted
    .filter(needsWords)
    .flatMap((service) => messageLines(showNamespace ? fullName(service) : service.name, service.message));
  return [...lines, ...(messages.length === 0 ? [] : ['', ...messages])].join('\n');
}

const fullName = ({ namespace, name }: ServiceView): string => `${namespace}/${name}`;
const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

const needsWords = ({ state, message }: ServiceView): boolean =>
  message !== undefined && ['Degraded', 'Failed', 'Invalid', 'Stopped'].includes(state);

function messageLines(name: string, message = ''): string[] {
  const short =
    message.length > MAX_MESSAGE_CHARACTERS ? `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…` : message;
  return short.split('\n').map((line) => `${name}: ${line}`);
}
