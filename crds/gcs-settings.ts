import type { GcsAccess } from '../contracts/storage-access.ts';
import type { Parsed } from './durations.ts';

/** Name of a key file in a Secret, as KServe has it. */
export const GOOGLE_KEY_FILE = 'gcloud-application-credentials.json';

/**
 * The JSON key file of a Google service account. Messages never show what is in it.
 *
 * @param where Names the place of the file in messages.
 */
export function readGoogleKey(json: string, where: string): Parsed<NonNullable<GcsAccess['serviceAccount']>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    // The parser's own message would quote the text, which holds the key.
    parsed = undefined;
  }
  const key = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>;
  if (key['type'] !== 'service_account') {
    const message =
      typeof key['type'] === 'string'
        ? `not supported yet: Google credentials of another type than service_account under ${where}; use workload identity`
        : `expected the JSON key of a Google service account under ${where}`;
    return { ok: false, message };
  }
  const { client_email: clientEmail, private_key: privateKey, private_key_id: id, token_uri: uri } = key;
  if (typeof clientEmail !== 'string' || typeof privateKey !== 'string') {
    return { ok: false, message: `expected client_email and private_key in the JSON under ${where}` };
  }
  const tokenUri = typeof uri === 'string' ? uri : 'https://oauth2.googleapis.com/token';
  if (!/^https?:$/.test(URL.parse(tokenUri)?.protocol ?? '')) {
    return { ok: false, message: `expected a URL as token_uri in the JSON under ${where}` };
  }
  return {
    ok: true,
    value: { clientEmail, privateKey, tokenUri, ...(typeof id === 'string' && { privateKeyId: id }) },
  };
}
