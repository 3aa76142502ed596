import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CONTROLLER_SERVERNAME } from '../../../process/leader-address.ts';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Why no certificate can be made here, or undefined. */
export function opensslMissing(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'pipe' });
    return undefined;
  } catch {
    return 'openssl is not installed, so no certificate can be made';
  }
}

export interface KeysFolder {
  path: string;
  caFile: string;
  ca: string;
  tls: { certFile: string; keyFile: string };
}

/** What the chart's secret holds, new: an authority, a certificate of controllers by it, an admin key, a token secret. */
export function makeKeys(path: string): KeysFolder {
  mkdirSync(path, { recursive: true });
  const file = (name: string): string => join(path, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: 'pipe' });
  };
  const authority = ['-subj', '/CN=pilotlight', '-keyout', file('ca.key'), '-out', file('ca.crt')];
  openssl('req', '-x509', ...KEY, '-days', '2', ...authority);
  const names = [
    '-subj',
    `/CN=${CONTROLLER_SERVERNAME}`,
    '-addext',
    `subjectAltName=DNS:${CONTROLLER_SERVERNAME}`,
  ];
  openssl('req', ...KEY, ...names, '-keyout', file('tls.key'), '-out', file('tls.csr'));
  const signer = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-days', '2', '-copy_extensions', 'copy'];
  openssl('x509', '-req', '-in', file('tls.csr'), ...signer, '-out', file('tls.crt'));
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(file('admin.key'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
  writeFileSync(file('token-secret'), 'a secret that nobody guesses\n');
  return {
    path,
    caFile: file('ca.crt'),
    ca: readFileSync(file('ca.crt'), 'utf8'),
    tls: { certFile: file('tls.crt'), keyFile: file('tls.key') },
  };
}
