import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ADMIN_TOKEN_LIFETIME_MS,
  adminAudience,
  signAdminToken,
  writeAdminPublicKey,
} from '../../../contracts/admin-token.ts';

/** A token is used for half of its life, so that a call that takes long ends before its token does. */
const RENEW_BEFORE_END_MS = ADMIN_TOKEN_LIFETIME_MS / 2;

/** The secret of the chart as it is mounted, see `readKeys`. */
export interface ClusterKeys {
  /** For runtimes' environment: base64 of SPKI DER. */
  readonly adminPublicKey: string;
  /** Key of the claims' stats tokens. */
  readonly tokenSecret: string;
  /** PEM of the authority that signed `tls.crt`; for runtimes' environment. */
  readonly controlCa: string;
  /** Certificate and key of the API; read by whoever serves with them, and again when they change. */
  readonly tls: { readonly certFile: string; readonly keyFile: string };
  /** Tokens for the admin port of one pod, the same one until half of its life is over. */
  adminTokens(namespace: string, pod: string): () => string;
}

/** A keys folder that a controller can't work with: the message says which file and what is wrong with it. */
export class KeysError extends Error {
  override readonly name = 'KeysError';
}

/**
 * Reads the controller's keys: `admin.key` (Ed25519, PKCS8 PEM), `token-secret`, `tls.crt`, `tls.key`, `ca.crt`.
 * Admin key and token secret are read once: runtimes that run hold their counterparts.
 *
 * @param nowMs epoch ms, for the tokens.
 * @throws KeysError
 */
export function readKeys(folder: string, nowMs: () => number = Date.now): ClusterKeys {
  const privateKey = readPrivateKey(join(folder, 'admin.key'));
  const tls = Object.freeze({ certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') });
  for (const file of [tls.certFile, tls.keyFile]) readText(file);
  return Object.freeze({
    adminPublicKey: writeAdminPublicKey(createPublicKey(privateKey)),
    tokenSecret: readText(join(folder, 'token-secret')),
    controlCa: readText(join(folder, 'ca.crt')),
    tls,
    adminTokens: (namespace: string, pod: string) => {
      const audience = adminAudience(namespace, pod);
      let token = '';
      let renewAtMs = -Infinity;
      return () => {
        const atMs = nowMs();
        if (atMs < renewAtMs && atMs >= renewAtMs - RENEW_BEFORE_END_MS) return token;
        token = signAdminToken(privateKey, audience, atMs);
        renewAtMs = atMs + ADMIN_TOKEN_LIFETIME_MS - RENEW_BEFORE_END_MS;
        return token;
      };
    },
  });
}

function readPrivateKey(file: string): KeyObject {
  const text = readText(file);
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch (error) {
    throw new KeysError(`${file}: expected an Ed25519 private key as PKCS8 PEM, got something else`, {
      cause: error,
    });
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new KeysError(`${file}: expected an Ed25519 private key, got one of type ${key.asymmetricKeyType}`);
}

function readText(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new KeysError(`${file}: expected to read it, got: ${(error as Error).message}`, { cause: error });
  }
  if (text !== '') return text;
  throw new KeysError(`${file}: expected some text, got an empty file`);
}
