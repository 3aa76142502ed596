import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';

/**
 * Sealing: what one process alone may read, over a connection that others may listen to. The receiver shows an
 * X25519 public key; each sealed text has a key pair of its own, from which and the receiver's key HKDF-SHA256
 * derives key and nonce for AES-256-GCM (the construction of RFC 9180's base mode, without its choice of suites).
 * A text is bound to a context: opened in another one, it is refused.
 *
 * Wire form, base64url: 32 bytes of the sender's public key, the ciphertext, 16 bytes of tag.
 */

const KEY_BYTES = 32;
const TAG_BYTES = 16;
const CIPHER_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const CIPHER = 'aes-256-gcm';
const INFO = 'pilotlight sealing 1';

/** The text isn't sealed for this receiver and context, or was changed on its way. */
export class SealingError extends Error {
  override readonly name = 'SealingError';
}

export interface SealingKeys {
  /** 32 bytes in base64url, to be shown to whoever wants to send. */
  readonly publicKey: string;
  readonly privateKey: KeyObject;
}

export function createSealingKeys(): SealingKeys {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return { publicKey: toRaw(publicKey), privateKey };
}

/**
 * @param publicKey The receiver's, as `createSealingKeys` writes it.
 * @throws SealingError for a key that isn't one.
 */
export function seal(text: string, publicKey: string, context: string): string {
  const receiver = fromRaw(publicKey);
  const own = generateKeyPairSync('x25519');
  const ownPublic = toRaw(own.publicKey);
  const { key, nonce } = derive(own.privateKey, receiver, ownPublic, publicKey);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(context));
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return Buffer.concat([Buffer.from(ownPublic, 'base64url'), sealed]).toString('base64url');
}

/** @throws SealingError when the text was not sealed for these keys and this context, as it is. */
export function open(sealed: string, { publicKey, privateKey }: SealingKeys, context: string): string {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < KEY_BYTES + TAG_BYTES)
    throw new SealingError('expected a sealed text, got a shorter one');
  const sender = bytes.subarray(0, KEY_BYTES).toString('base64url');
  try {
    const { key, nonce } = derive(privateKey, fromRaw(sender), sender, publicKey);
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
      .setAAD(Buffer.from(context))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = decipher.update(bytes.subarray(KEY_BYTES, -TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString('utf8');
  } catch (error) {
    throw new SealingError('the text was sealed for another process or claim, or was changed', {
      cause: error,
    });
  }
}

/** Both public keys go into the derivation, so that a text belongs to this pair alone. */
function derive(
  privateKey: KeyObject,
  publicKey: KeyObject,
  sender: string,
  receiver: string,
): { key: Buffer; nonce: Buffer } {
  const shared = diffieHellman({ privateKey, publicKey });
  const salt = Buffer.concat([Buffer.from(sender, 'base64url'), Buffer.from(receiver, 'base64url')]);
  const derived = Buffer.from(hkdfSync('sha256', shared, salt, INFO, CIPHER_KEY_BYTES + NONCE_BYTES));
  return { key: derived.subarray(0, CIPHER_KEY_BYTES), nonce: derived.subarray(CIPHER_KEY_BYTES) };
}

function toRaw(key: KeyObject): string {
  return key.export({ format: 'jwk' }).x ?? '';
}

function fromRaw(raw: string): KeyObject {
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: raw }, format: 'jwk' });
  } catch (error) {
    throw new SealingError('expected an X25519 public key: 32 bytes in base64url', { cause: error });
  }
}
