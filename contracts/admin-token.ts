import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

/**
 * Admin tokens: what a controller in a cluster shows at a runtime's admin port. A JWT (RFC 7519) signed with
 * Ed25519 (`alg` `EdDSA`, RFC 8037), good for one pod and for ten minutes. The runtime holds the public key
 * alone, so that no pod's spec holds a secret, and what one pod has seen is of no use at another.
 *
 * Claims: `aud` = `namespace/pod`, `iat` and `exp` in whole seconds, `exp` at most 10 min behind `iat`.
 */
export const ADMIN_TOKEN_LIFETIME_MS = 10 * 60_000;
/** Clocks of two nodes may differ by so much. */
export const ADMIN_TOKEN_LEEWAY_MS = 60_000;

/** Longest token that is looked at. Ours have 330 bytes with the longest names that Kubernetes allows: 63 + 253. */
const MAX_TOKEN_LENGTH = 1_024;
const SIGNATURE_BYTES = 64;
/** A runtime hears one controller, for a while two when the lead changes: each with a token of some minutes. */
const MAX_KNOWN = 16;

const HEADER = toBase64Url({ alg: 'EdDSA', typ: 'JWT' });

/** Why a token was refused, in words for a log and for the caller. */
export class AdminTokenError extends Error {
  override readonly name = 'AdminTokenError';
}

export interface AdminTokenTimes {
  issuedAtMs: number;
  expiresAtMs: number;
}

/** Whom a token is for: one pod. */
export function adminAudience(namespace: string, pod: string): string {
  return `${namespace}/${pod}`;
}

/**
 * @param privateKey Ed25519.
 * @param audience see `adminAudience`.
 * @param nowMs epoch ms.
 */
export function signAdminToken(privateKey: KeyObject, audience: string, nowMs: number): string {
  const iat = Math.floor(nowMs / 1000);
  const claims = { aud: audience, iat, exp: iat + ADMIN_TOKEN_LIFETIME_MS / 1000 };
  const signed = `${HEADER}.${toBase64Url(claims)}`;
  return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`;
}

/**
 * The public key as it travels in an environment variable.
 * @param text base64 of SPKI DER.
 * @throws AdminTokenError for anything but an Ed25519 public key.
 */
export function readAdminPublicKey(text: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
  } catch (error) {
    throw new AdminTokenError('expected an Ed25519 public key as base64 of SPKI DER, got something else', {
      cause: error,
    });
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new AdminTokenError(`expected an Ed25519 public key, got one of type ${key.asymmetricKeyType}`);
}

/** The other way round: base64 of SPKI DER. */
export function writeAdminPublicKey(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('base64');
}

/**
 * Checks everything about a token: its form, who signed it, whom it is for and when.
 *
 * @param nowMs epoch ms.
 * @throws AdminTokenError saying what is wrong.
 */
export function verifyAdminToken(
  token: string,
  publicKey: KeyObject,
  audience: string,
  nowMs: number,
): AdminTokenTimes {
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new AdminTokenError(`expected a token of at most ${MAX_TOKEN_LENGTH} characters, got a longer one`);
  }
  const parts = token.split('.');
  const [header = '', payload = '', signature = ''] = parts;
  if (parts.length !== 3) throw new AdminTokenError('expected a JWT: three parts with dots between');
  // Before anything is believed of it: the form of a token that others chose decides nothing.
  const { alg, typ = 'JWT', ...others } = readObject(header, 'header');
  if (alg !== 'EdDSA') throw new AdminTokenError('expected a token signed with EdDSA, got another algorithm');
  if (typ !== 'JWT' || Object.keys(others).length > 0) {
    throw new AdminTokenError('expected a header of alg and typ alone');
  }
  const signatureBytes = readBase64Url(signature);
  const isSigned =
    signatureBytes?.length === SIGNATURE_BYTES &&
    verify(null, Buffer.from(`${header}.${payload}`), publicKey, signatureBytes);
  if (!isSigned) throw new AdminTokenError('the token is not signed by the controller');
  const { aud, iat, exp } = readObject(payload, 'payload');
  if (aud !== audience)
    throw new AdminTokenError(`expected a token for ${audience}, got one for another pod`);
  const times = { issuedAtMs: toMs(iat, 'iat'), expiresAtMs: toMs(exp, 'exp') };
  const lifetimeMs = times.expiresAtMs - times.issuedAtMs;
  if (lifetimeMs <= 0 || lifetimeMs > ADMIN_TOKEN_LIFETIME_MS) {
    throw new AdminTokenError(`expected a token that lasts up to ${ADMIN_TOKEN_LIFETIME_MS} ms`);
  }
  requireInForce(times, nowMs);
  return times;
}

/**
 * Checks tokens for one pod and remembers those that were good: the signature of a token that comes again is not
 * computed again, only its time is looked at.
 */
export class AdminTokenVerifier {
  readonly #publicKey: KeyObject;
  readonly #audience: string;
  readonly #known = new Map<string, AdminTokenTimes>();

  constructor(publicKey: KeyObject, audience: string) {
    this.#publicKey = publicKey;
    this.#audience = audience;
  }

  /** Tokens that are remembered, for tests. */
  get knownCount(): number {
    return this.#known.size;
  }

  /** @throws AdminTokenError saying what is wrong. */
  verify(token: string, nowMs: number): void {
    const known = this.#known.get(token);
    if (known !== undefined) {
      requireInForce(known, nowMs);
      return;
    }
    const times = verifyAdminToken(token, this.#publicKey, this.#audience, nowMs);
    if (this.#known.size >= MAX_KNOWN) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(token, times);
  }
}

function requireInForce({ issuedAtMs, expiresAtMs }: AdminTokenTimes, nowMs: number): void {
  if (nowMs >= expiresAtMs + ADMIN_TOKEN_LEEWAY_MS) {
    throw new AdminTokenError(`the token ended ${Math.round((nowMs - expiresAtMs) / 1000)} s ago`);
  }
  if (nowMs < issuedAtMs - ADMIN_TOKEN_LEEWAY_MS) {
    throw new AdminTokenError(
      `the token begins in ${Math.round((issuedAtMs - nowMs) / 1000)} s; compare the clocks of the nodes`,
    );
  }
}

function toMs(seconds: unknown, name: string): number {
  if (typeof seconds === 'number' && Number.isSafeInteger(seconds) && seconds >= 0) return seconds * 1000;
  throw new AdminTokenError(`expected ${name} in whole seconds`);
}

function readObject(part: string, name: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readBase64Url(part)?.toString('utf8') ?? '');
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // Said below, as for any other value.
  }
  throw new AdminTokenError(`expected a JSON object in base64url as the token's ${name}`);
}

/** Only what an encoder writes: a token has one spelling, so that another one isn't another token. */
function readBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function toBase64Url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
