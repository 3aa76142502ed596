import { basename, isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type AzureLocation, azureBlob, azureFileSystem } from './azure-uri.ts';
import { InvalidModelUriError, UnsupportedModelError } from './errors.ts';

interface WithDigest {
  /** Lower-case hex, from `#sha256=…`. */
  sha256: string | undefined;
}
/** A model URI that has passed the door. */
export type ModelUri =
  | ({ scheme: 'file'; path: string } & WithDigest)
  | ({ scheme: 'http'; url: string } & WithDigest)
  | ({ scheme: 's3'; bucket: string; key: string } & WithDigest)
  | ({ scheme: 'gs'; bucket: string; key: string } & WithDigest)
  | ({ scheme: 'azure' } & AzureLocation & WithDigest);

const ACCEPTED =
  'expected file:///path, https://host/path, http://host/path, s3://bucket/key, gs://bucket/key or abfss://container@account.dfs.core.windows.net/path';
/** Schemes that KServe, MLflow and the like know. They get their own answer, since nobody mistyped them. */
const NOT_YET = new Set('hf oci azure az adl hdfs webhdfs git ftp sftp mlflow nfs'.split(' '));
const ARCHIVE = /\.(?:zip|tar|tgz|tar\.gz|tar\.zst|tar\.xz|7z)$/i;
const MAX_LENGTH = 4096;
const SCHEME = /^([a-z][a-z0-9+.-]+):/i;
const DIGEST = /^[0-9a-f]{64}$/i;

/**
 * Parses a model URI. A digest may follow as fragment, which no server ever sees:
 * `https://host/m.onnx#sha256=<64 hex digits>`; it is that of the `.onnx` file itself. An s3 or gs key is
 * taken literally, as the stores' own tools do: `%` and `+` stand for themselves.
 *
 * @throws InvalidModelUriError for what is malformed or tries to leave its folder; UnsupportedModelError for
 *   schemes and archives that are not built yet.
 */
export function parseModelUri(text: string): ModelUri {
  const shown = redactUri(text);
  if (text.length > MAX_LENGTH) {
    throw new InvalidModelUriError(`storageUri is ${text.length} characters long; at most ${MAX_LENGTH}`);
  }
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    throw new InvalidModelUriError(`storageUri ${JSON.stringify(shown)} has no scheme; ${ACCEPTED}`);
  }
  if (scheme === 'pvc') {
    throw new UnsupportedModelError(
      `${shown}: a claim is mounted by the cluster for services there; here give the file or folder as file:`,
    );
  }
  if (NOT_YET.has(scheme)) throw new UnsupportedModelError(`not supported yet: storageUri scheme ${scheme}`);
  const { rest, sha256 } = splitDigest(text, shown);
  refuseTraversal(rest, scheme, shown);
  const parsed = parseScheme(scheme, rest, shown, sha256);
  const name = parsed.scheme === 'http' ? new URL(parsed.url).pathname : rest;
  if (ARCHIVE.test(name)) {
    throw new UnsupportedModelError(
      `not supported yet: storageUri of an archive (${shown}); unpack it and give the folder or the .onnx file`,
    );
  }
  return parsed;
}

/**
 * What a person types on a command line: a URI stays one, anything else is a path relative to `cwd`.
 * `C:\…` counts as a path.
 */
export function uriFromArgument(argument: string, cwd: string): string {
  if (SCHEME.test(argument)) return argument;
  if (argument.includes('\0')) throw new InvalidModelUriError('the model path holds a NUL character');
  return pathToFileURL(resolve(cwd, argument)).href;
}

/**
 * The URI without what may be a secret, for messages, logs and cache keys: no user info, no signature of a
 * presigned URL. Two presigned URLs of one object become the same text.
 */
export function redactUri(text: string): string {
  // What stands before the @ of an Azure file system is the container.
  const withoutUser = /^(?:abfs|wasb)s?:\/\/[^/?#@:]*@/i.test(text)
    ? text
    : text.replace(/^([a-z][a-z0-9+.-]+:\/\/)[^/?#@]*@/i, '$1');
  if (!/^https?:/i.test(withoutUser)) return withoutUser;
  const [beforeFragment = '', ...fragment] = withoutUser.split('#');
  const [path = '', ...query] = beforeFragment.split('?');
  const kept = query
    .join('?')
    .split('&')
    .filter((pair) => pair !== '' && !SECRET_PARAMETER.test(pair));
  const suffix = fragment.length > 0 ? `#${fragment.join('#')}` : '';
  return path + (kept.length > 0 ? `?${kept.join('&')}` : '') + suffix;
}

/** Query parameters of AWS, Google, Azure and CDN signatures, and the names under which tokens travel. */
const SECRET_PARAMETER =
  /^(?:x-amz-|x-goog-|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy|sig|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|token|access_token|auth|apikey|api_key|password|secret)[^=]*=/i;

function splitDigest(text: string, shown: string): { rest: string; sha256: string | undefined } {
  const marker = text.lastIndexOf('#sha256=');
  if (marker === -1) return { rest: text, sha256: undefined };
  const digest = text.slice(marker + '#sha256='.length);
  if (!DIGEST.test(digest)) {
    throw new InvalidModelUriError(
      `storageUri ${shown}: expected 64 hex digits after #sha256=, got "${digest}"`,
    );
  }
  return { rest: text.slice(0, marker), sha256: digest.toLowerCase() };
}

/**
 * `..`, backslash and control characters, plain or percent-encoded, twice over as well: what a proxy or a
 * server behind us decodes once more must not climb either. Parsers normalise `..` away, so this looks at the
 * text as it came.
 */
function refuseTraversal(text: string, scheme: string, shown: string): void {
  let current = text;
  for (let round = 0; round < 4; round += 1) {
    if (/\p{Cc}/u.test(current)) {
      throw new InvalidModelUriError(`storageUri ${JSON.stringify(shown)} holds a control character`);
    }
    if (current.includes('\\')) {
      throw new InvalidModelUriError(`storageUri ${shown} holds a backslash; separate folders with /`);
    }
    // Only HTTP has a query; elsewhere ? and # are part of a name.
    const path = scheme.startsWith('http') ? (current.split(/[?#]/, 1)[0] ?? '') : current;
    if (path.split('/').includes('..')) {
      throw new InvalidModelUriError(
        `storageUri ${shown} climbs out of its folder with ".."; give the plain path`,
      );
    }
    let decoded: string;
    try {
      decoded = decodeURIComponent(current);
    } catch {
      return;
    }
    if (decoded === current) return;
    current = decoded;
  }
}

function parseScheme(scheme: string, text: string, shown: string, sha256: string | undefined): ModelUri {
  switch (scheme) {
    case 'file':
      return { scheme: 'file', path: filePath(text, shown), sha256 };
    case 'http':
    case 'https': {
      const blob = azureBlob(text, shown);
      if (blob !== undefined) return { scheme: 'azure', ...blob, sha256 };
      return { scheme: 'http', url: httpUrl(text, shown), sha256 };
    }
    case 's3':
    case 'gs':
      return { scheme, ...bucketAndKey(scheme, text, shown), sha256 };
    case 'abfs':
    case 'abfss':
    case 'wasb':
    case 'wasbs':
      return { scheme: 'azure', ...azureFileSystem(text, shown), sha256 };
    default:
      throw new InvalidModelUriError(`storageUri ${shown} has the unknown scheme "${scheme}"; ${ACCEPTED}`);
  }
}

function filePath(text: string, shown: string): string {
  if (!/^file:(?:\/\/(?:localhost)?)?\/(?!\/)/i.test(text)) {
    throw new InvalidModelUriError(
      `storageUri ${shown}: expected an absolute path, as in file:///models/m.onnx`,
    );
  }
  if (/[?#]/.test(text)) {
    throw new InvalidModelUriError(`storageUri ${shown}: write ? as %3F and # as %23 in a file URI`);
  }
  try {
    const path = fileURLToPath(new URL(text.replace(/^file:\/\/localhost/i, 'file://')));
    if (isAbsolute(path)) return path;
  } catch (cause) {
    throw new InvalidModelUriError(`storageUri ${shown} is no valid file URI`, { cause });
  }
  throw new InvalidModelUriError(`storageUri ${shown}: expected an absolute path`);
}

function httpUrl(text: string, shown: string): string {
  if (!URL.canParse(text) || !/^https?:\/\/[^/]/i.test(text)) {
    throw new InvalidModelUriError(`storageUri ${shown} is no valid URL; ${ACCEPTED}`);
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new InvalidModelUriError(
      `storageUri ${shown} holds a user name or password; put them into a Secret`,
    );
  }
  if (url.hash !== '') {
    throw new InvalidModelUriError(
      `storageUri ${shown}: the only fragment understood is #sha256=<64 hex digits>`,
    );
  }
  if (url.pathname.endsWith('/') || basename(url.pathname) === '') {
    throw new InvalidModelUriError(
      `storageUri ${shown} names a folder, and HTTP has no listing; give the .onnx file itself`,
    );
  }
  return url.href;
}

function bucketAndKey(scheme: string, text: string, shown: string): { bucket: string; key: string } {
  const match = /^[a-z0-9]+:\/\/([^/]*)(?:\/(.*))?$/i.exec(text);
  const bucket = match?.[1] ?? '';
  const key = match?.[2] ?? '';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket) || bucket.includes('..')) {
    throw new InvalidModelUriError(
      `storageUri ${shown}: "${bucket}" is no bucket name; expected ${scheme}://bucket/key`,
    );
  }
  refuseOddKey(key, shown);
  return { bucket, key };
}

function refuseOddKey(key: string, shown: string): void {
  if (key.startsWith('/') || key.includes('//') || key.split('/').includes('.')) {
    throw new InvalidModelUriError(`storageUri ${shown}: the key has an empty or "." segment`);
  }
}
