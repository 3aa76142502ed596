import { readFileSync } from 'node:fs';

/** TCP state ESTABLISHED in /proc/net/tcp (include/net/tcp_states.h of Linux). */
const ESTABLISHED = '01';
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/**
 * Connections that clients have open to a port of this machine; undefined where the system doesn't tell. It is
 * how a foreign server is seen to be idle: activators close theirs once it is out of the routes and has
 * answered.
 */
export function openConnections(port: number): number | undefined {
  let count = 0;
  let isKnown = false;
  for (const table of TABLES) {
    let text: string;
    try {
      text = readFileSync(table, 'latin1');
    } catch {
      continue;
    }
    isKnown = true;
    count += countEstablished(text, port);
  }
  return isKnown ? count : undefined;
}

/** Rows of a table of /proc/net whose local port is this one: `sl local_address rem_address st …`. */
export function countEstablished(table: string, port: number): number {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(ending) === true && state === ESTABLISHED).length;
}
