import { connect } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

/** The thread behind `Pings`: an event loop that does nothing else, so that only the other side can be late. */
const INTERVAL_MS = 2;
const REQUEST = 'GET /v2/health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n';

const { port } = workerData as { port: number };
let sentMs: number | undefined;
let longestMs = 0;
let received = '';

const socket = connect({ host: '127.0.0.1', port, noDelay: true });
// One at a time: an answer that is late delays the next question, and shows by itself.
const ping = (): void => {
  if (sentMs !== undefined || socket.destroyed) return;
  sentMs = performance.now();
  socket.write(REQUEST);
};
socket.on('connect', () => {
  setInterval(ping, INTERVAL_MS);
  parentPort?.postMessage('connected', []);
});
socket.on('data', (chunk) => {
  received += chunk.toString('latin1');
  if (!received.includes('\r\n\r\n')) return;
  if (!received.startsWith('HTTP/1.1 200')) throw new Error(`not alive: ${received.slice(0, 80)}`);
  received = '';
  if (sentMs !== undefined) longestMs = Math.max(longestMs, performance.now() - sentMs);
  sentMs = undefined;
});
// Its end comes when the runtime is recycled; whoever asks then gets what was measured until here.
socket.on('error', () => socket.destroy());
parentPort?.on('message', () => {
  const waitedMs = sentMs === undefined ? 0 : performance.now() - sentMs;
  parentPort?.postMessage(Math.max(longestMs, waitedMs), []);
  longestMs = 0;
});
