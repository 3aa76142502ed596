import { expect, test } from 'vitest';
import { LeaderAddress } from './leader-address.ts';

const HOME = 'https://pilotlight-controller.pilotlight-system.svc:8443';
const LEADER = 'https://10.0.0.7:8443';
const naming = (leader: string | undefined, statusCode = 503) => ({
  statusCode,
  headers: { 'pilotlight-error': 'not-leader', ...(leader !== undefined && { 'pilotlight-leader': leader }) },
});

test('it is home until a controller names the leader, and home again when that one is gone', () => {
  const address = new LeaderAddress(`${HOME}/v1/stats`);
  expect(address.current).toBe(HOME);
  expect(address.heed(HOME, naming(`${LEADER}/`))).toBe(true);
  expect(address.current).toBe(LEADER);
  expect(address.leave(LEADER)).toBe(true);
  expect(address.current).toBe(HOME);
  expect(address.leave(HOME)).toBe(false);
});

test('a leader that is one no more and knows no other sends home', () => {
  const address = new LeaderAddress(HOME);
  address.heed(HOME, naming(LEADER));
  expect(address.heed(LEADER, naming(undefined))).toBe(true);
  expect(address.current).toBe(HOME);
});

test('a leader that is not ready yet is still the leader', () => {
  const address = new LeaderAddress(HOME);
  address.heed(HOME, naming(LEADER));
  expect(address.heed(LEADER, { statusCode: 503, headers: { 'pilotlight-error': 'not-ready' } })).toBe(false);
  expect(address.current).toBe(LEADER);
});

test('what is late, of another status, the same or no leader changes nothing', () => {
  const address = new LeaderAddress(HOME);
  expect(address.heed(HOME, naming(LEADER, 200))).toBe(false);
  expect(address.heed(HOME, naming(HOME))).toBe(false);
  expect(address.heed(HOME, naming(undefined))).toBe(false);
  expect(address.heed(HOME, naming('nonsense'))).toBe(false);
  expect(address.heed(HOME, naming('http://10.0.0.7:8443'))).toBe(false);
  expect(address.heed(HOME, naming('file:///etc/passwd'))).toBe(false);
  expect(address.heed(LEADER, naming('https://10.0.0.8:8443'))).toBe(false);
  expect(address.leave(LEADER)).toBe(false);
  expect(address.current).toBe(HOME);
});

test('an IPv6 address of a leader is taken', () => {
  const address = new LeaderAddress(HOME);
  expect(address.heed(HOME, naming('https://[fd00::7]:8443'))).toBe(true);
  expect(address.current).toBe('https://[fd00::7]:8443');
});

test('what is no URL of a controller is refused', () => {
  expect(() => new LeaderAddress('10.0.0.7:8443')).toThrow('expected an http: or https: URL');
});
