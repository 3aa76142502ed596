import { expect, test } from 'vitest';
import { parseCommandLine, USAGE } from './settings.ts';

const parse = (argv: string, token?: string) => parseCommandLine(argv.split(' '), token);

test('on one machine a controller and a token from the environment are all', () => {
  expect(parse('--controller http://127.0.0.1:8081', 'secret')).toEqual({
    options: {
      host: '127.0.0.1',
      port: 8080,
      controllerUrl: 'http://127.0.0.1:8081',
      drainMs: 4_000,
      keepAcceptingMs: 0,
      token: 'secret',
    },
    lifeline: undefined,
  });
});

test('in a cluster token and authority are files, and a drain goes on taking connections for a while', () => {
  const where = '--host :: --port 8080 --metrics-port 9090';
  const control = '--controller https://pilotlight-controller.pilotlight-system.svc:8443';
  const files = '--token-file /run/token --ca-file /etc/ca.crt';
  const { options } = parse(`${where} ${control} ${files} --drain-ms 25000 --keep-accepting-ms 5000`, '');
  expect(options).toEqual({
    host: '::',
    port: 8080,
    metricsPort: 9090,
    controllerUrl: 'https://pilotlight-controller.pilotlight-system.svc:8443',
    tokenFile: '/run/token',
    caFile: '/etc/ca.crt',
    drainMs: 25_000,
    keepAcceptingMs: 5_000,
  });
});

test.each([
  ['--port 8080', 'expected --controller'],
  ['--controller http://c --port 70000', 'expected --port to be a whole number from 0 to 65535, got "70000"'],
  ['--controller http://c --keep-accepting-ms soon', '--keep-accepting-ms'],
  ['--controller http://c --tokenfile /t', '--tokenfile'],
])('%s is refused with what was expected', (argv, message) => {
  expect(() => parse(argv)).toThrow(message);
});

test('the help names every flag', () => {
  const flags = [
    'port',
    'host',
    'controller',
    'metrics-port',
    'drain-ms',
    'keep-accepting-ms',
    'token-file',
    'ca-file',
  ];
  for (const flag of flags) expect(USAGE).toContain(`--${flag} `);
});
